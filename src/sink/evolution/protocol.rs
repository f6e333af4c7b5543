//! The protocol that a new type asks for.

use crate::sink::Protocol;
use crate::sink::features::{is_for_readers, listed};

const LOCAL_TIME: &str = "timestampNtz";

/// The protocol with TIMESTAMP_NTZ in it; `None`: it is there already.
///
/// A protocol by versions alone becomes one by lists, which must name all that the versions stood for (Delta protocol,
/// "Table Features").
pub(super) fn with_local_time(protocol: &Protocol) -> Option<Protocol> {
    let mut writer = listed(protocol);
    if writer.iter().any(|name| name == LOCAL_TIME) {
        return None;
    }
    let mut reader = match &protocol.reader_features {
        Some(features) => features.clone(),
        // Reader version 2 is column mapping; 1 has nothing.
        None if protocol.min_reader_version < 2 => Vec::new(),
        None => writer.iter().filter(|name| is_for_readers(name)).cloned().collect(),
    };
    reader.push(LOCAL_TIME.to_owned());
    writer.push(LOCAL_TIME.to_owned());
    Some(Protocol {
        min_reader_version: 3,
        min_writer_version: 7,
        reader_features: Some(reader),
        writer_features: Some(writer),
    })
}

//! `sluice status`.

use clap::Args;

use super::{ConfigSource, print};
use crate::disposition::Exit;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    source: ConfigSource,
}

pub(super) async fn status(args: StatusArgs) -> Exit {
    let _ = args.source;
    print::note("not there yet");
    Exit::Bug
}

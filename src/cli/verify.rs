//! `sluice verify`.

use clap::Args;

use super::{ConfigSource, print};
use crate::disposition::Exit;

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    source: ConfigSource,
}

pub(super) async fn verify(args: VerifyArgs) -> Exit {
    let _ = args.source;
    print::note("not there yet");
    Exit::Bug
}

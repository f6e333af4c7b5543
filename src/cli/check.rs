//! `sluice check`.

use clap::Args;

use super::{ConfigSource, print};
use crate::disposition::Exit;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    source: ConfigSource,
}

pub(super) async fn check(args: CheckArgs) -> Exit {
    let _ = args.source;
    print::note("not there yet");
    Exit::Bug
}

//! `sluice rewind`.

use clap::Args;

use super::{ConfigSource, print};
use crate::disposition::Exit;

#[derive(Debug, Args)]
pub(super) struct RewindArgs {
    #[command(flatten)]
    source: ConfigSource,
}

pub(super) async fn rewind(args: RewindArgs) -> Exit {
    let _ = args.source;
    print::note("not there yet");
    Exit::Bug
}

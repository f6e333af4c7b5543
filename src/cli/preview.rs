//! `sluice preview`.

use clap::Args;

use super::{ConfigSource, print};
use crate::disposition::Exit;

#[derive(Debug, Args)]
pub(super) struct PreviewArgs {
    #[command(flatten)]
    source: ConfigSource,
}

pub(super) async fn preview(args: PreviewArgs) -> Exit {
    let _ = args.source;
    print::note("not there yet");
    Exit::Bug
}

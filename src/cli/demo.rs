//! `sluice demo`.

use clap::Args;

use super::{ConfigSource, print};
use crate::disposition::Exit;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    #[command(flatten)]
    source: ConfigSource,
}

pub(super) async fn demo(args: DemoArgs) -> Exit {
    let _ = args.source;
    print::note("not there yet");
    Exit::Bug
}

//! `sluice run`: the connector itself.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{ConfigSource, print};
use crate::config::{Connector, Trigger};
use crate::disposition::{Disposition, Exit};
use crate::engine::shutdown::{self, Shutdown, ShutdownTrigger};
use crate::engine::{Engine, EngineError};
use crate::observability::{BacklogBar, HttpServer, LagDetail, Metrics, Status};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    source: ConfigSource,
}

pub(super) async fn run(args: RunArgs) -> Exit {
    let loaded = match print::load(&args.source, false) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let (trigger, shutdown) = shutdown::channel();
    if let Err(error) = stop_on_signals(trigger) {
        print::note(format!("signals can't be caught: {error}"));
        return Exit::Bug;
    }
    match connector(loaded.connector, shutdown).await {
        Ok(()) => Exit::Done,
        Err(exit) => exit,
    }
}

/// Runs a connector with all that belongs to it: metrics, HTTP server, progress bar.
pub(super) async fn connector(spec: Connector, shutdown: Shutdown) -> Result<(), Exit> {
    let tables =
        spec.outputs.iter().map(|(name, output)| (name.as_str(), output.table.as_written.as_str()));
    let status = Status::new(&spec.name, tables);
    let metrics = Metrics::new(&spec.name, LagDetail::PerPartition);
    if let Trigger::ProcessingTime { interval } = spec.trigger {
        metrics.trigger_interval(interval);
    }
    if let Some(addr) = spec.http {
        let server = HttpServer::bind(addr).await.map_err(|error| {
            print::note(format!("{}: {error}", error.code()));
            match error.disposition() {
                Disposition::Stop(exit) => exit,
                _ => Exit::Configuration,
            }
        })?;
        tracing::info!(addr = %server.local_addr(), "serving /healthz, /readyz, /metrics, /status");
        let stop = shutdown.clone();
        let stopped = async move { stop.requested().await };
        tokio::spawn(server.serve(status.clone(), metrics.clone(), stopped));
    }
    tracing::info!(connector = spec.name, version = env!("CARGO_PKG_VERSION"), "starting");
    let engine = Engine::new(spec, status.clone(), metrics, shutdown);
    let ended: Result<(), EngineError> = tokio::select! {
        ended = Box::pin(engine.run()) => ended,
        () = BacklogBar::follow(&status) => unreachable!("the bar is followed for ever"),
    };
    ended.map_err(|error| print::failure(&error))?;
    tracing::info!("done");
    Ok(())
}

fn stop_on_signals(trigger: ShutdownTrigger) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: the batch under way is finished first");
        trigger.request();
        // The trigger lives on: without it, nobody would hear of the request.
        interrupt.recv().await;
        std::process::exit(130);
    });
    Ok(())
}

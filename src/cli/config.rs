//! `sluice config`: the configuration as it is understood, and its schema.

use clap::{Args, Subcommand};

use super::{ConfigSource, print};
use crate::config;
use crate::disposition::Exit;

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// The effective configuration: all layers merged, each value with its origin, secrets hidden.
    Show {
        #[command(flatten)]
        source: ConfigSource,
        #[arg(long)]
        json: bool,
    },
    /// The JSON Schema of the configuration, for editors.
    Schema,
}

pub(super) fn config(args: ConfigArgs) -> Exit {
    match args.command {
        ConfigCommand::Schema => {
            let schema = config::json_schema();
            print::line(serde_json::to_string_pretty(&schema).expect("a schema serialises"));
        }
        ConfigCommand::Show { source, json } => {
            let loaded = match print::load(&source, false) {
                Ok(loaded) => loaded,
                Err(exit) => return exit,
            };
            if json {
                print::json(&config::show_json(&loaded));
            } else {
                print::line(config::show(&loaded).trim_end());
            }
        }
    }
    Exit::Done
}

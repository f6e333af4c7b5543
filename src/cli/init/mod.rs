//! `sluice init`: looks at a topic and its schema registry, and writes a configuration that reads it.
//!
//! Guarantees that what it writes is a valid configuration, and that a file is not overwritten without being told to.
//! Types are inferred conservatively; what a person should look at stands beside it as a comment. Writes nothing but
//! that file, joins no group.

mod infer;
mod observe;
mod recognise;
mod sample;
mod time;
mod trial;
mod write;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use self::recognise::{Found, Help, recognise};
use self::write::{Asked, AskedRegistry, Trial};
use super::print;
use super::text::count;
use crate::config::{self, AvroSchemas, Connector, Loaded, Payload, Sources, SubjectNames};
use crate::decode::registry::{Client, RegistryError};
use crate::disposition::{Disposition, Exit};

/// As the configuration's names.
const LONGEST_NAME: usize = 100;

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Brokers to begin with.
    #[arg(long, value_name = "HOST:PORT", required = true, value_delimiter = ',')]
    brokers: Vec<String>,
    /// The topic.
    #[arg(long)]
    topic: String,
    /// Its schema registry, with the base path of its API; more than one are tried in order.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    registry: Vec<String>,
    /// The registry's subject, if it isn't `<topic>-value`.
    #[arg(long, requires = "registry")]
    subject: Option<String>,
    /// A user of the registry.
    #[arg(long, value_name = "NAME", requires = "registry", requires = "registry_password")]
    registry_username: Option<String>,
    /// As a reference, '${env:NAME}' or '${file:/path}', which goes into the configuration as it is.
    #[arg(long, value_name = "REFERENCE", requires = "registry_username")]
    registry_password: Option<String>,
    /// A bearer token for the registry, as a reference.
    #[arg(
        long,
        value_name = "REFERENCE",
        requires = "registry",
        conflicts_with = "registry_username"
    )]
    registry_token: Option<String>,
    /// A PEM file of certificates to trust beside the system's, for the registry.
    #[arg(long, value_name = "FILE", requires = "registry")]
    registry_ca_file: Option<String>,
    /// The Avro schema of the values, where there is no registry.
    #[arg(long, value_name = "FILE", conflicts_with = "registry")]
    avro_schema: Option<String>,
    /// A property of librdkafka, such as security.protocol=SASL_SSL; secrets as references.
    #[arg(long = "client", value_name = "KEY=VALUE")]
    client: Vec<String>,
    /// Where the table is to be: a path or a URL [default: ./lake/<TOPIC>]
    #[arg(long, value_name = "PATH")]
    table: Option<String>,
    /// How many records are looked at: the oldest and the newest.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    samples: u64,
    /// Write the configuration to this file instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it is there.
    #[arg(long, requires = "output")]
    force: bool,
    /// One JSON document: what was found out, and the configuration in it.
    #[arg(long)]
    json: bool,
}

/// Told already.
type Told<T> = Result<T, Exit>;

pub(super) async fn init(args: InitArgs) -> Exit {
    match Box::pin(write(args)).await {
        Ok(()) => Exit::Done,
        Err(exit) => exit,
    }
}

async fn write(args: InitArgs) -> Told<()> {
    if let Some(file) = args.output.as_deref().filter(|file| !args.force && file.exists()) {
        return Err(exists(file));
    }
    let asked = asked(&args)?;
    let connector = load(&write::to_look(&asked))?.connector;
    let samples = sample::take(&connector.source, args.samples);
    let samples = samples.await.map_err(|error| print::failure(&error))?;
    let found = find_out(&asked, &connector, &samples).await?;
    let others = Trial { records: samples.len() as u64, bad: found.others, first_bad: None };
    let loaded = load(&write::to_run(&asked, &found, &others))?;
    let trial = trial::decode(loaded.connector, samples, &found).await;
    let trial = trial.map_err(|error| print::failure(&error))?;
    let text = write::to_run(&asked, &found, &trial);
    let warnings = load(&text)?.warnings;
    warnings
        .iter()
        .for_each(|warning| print::note(format!("{}: {}", warning.code.as_str(), warning.what)));
    save(&text, args.output.as_deref(), args.force)?;
    report(&args, &found, &trial, &text);
    Ok(())
}

/// What the command line asks for, as the configuration's text will have it.
fn asked(args: &InitArgs) -> Told<Asked> {
    let registry = (!args.registry.is_empty()).then(|| AskedRegistry {
        urls: args.registry.clone(),
        username: args.registry_username.clone(),
        password: args.registry_password.clone(),
        token: args.registry_token.clone(),
        ca_file: args.registry_ca_file.clone(),
        subject: args.subject.clone(),
    });
    let property = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => {
            print::note("--client: write KEY=VALUE");
            Err(Exit::Usage)
        }
    };
    Ok(Asked {
        name: name_of(&args.topic),
        topic: args.topic.clone(),
        brokers: args.brokers.clone(),
        client: args.client.iter().map(property).collect::<Told<_>>()?,
        table: args.table.clone().unwrap_or_else(|| format!("./lake/{}", args.topic)),
        registry,
        avro_schema: args.avro_schema.clone(),
    })
}

/// The topic's name, with dots as dashes: names of connectors have none.
fn name_of(topic: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    topic.chars().map(|c| if fits(c) { c } else { '-' }).take(LONGEST_NAME).collect()
}

/// A text of our own, so lines in it would tell nobody anything.
fn load(text: &str) -> Told<Loaded> {
    let sources = Sources::of_process(Vec::new(), Vec::new()).map(|sources| Sources {
        files: vec![PathBuf::from("-")],
        stdin: Some(text.to_owned()),
        ..sources
    });
    let sources = sources.map_err(|error| {
        print::note(format!("the current directory can't be told: {error}"));
        Exit::Usage
    })?;
    config::load(&sources).map_err(|errors| {
        for problem in &errors.problems {
            let hint = problem.hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default();
            print::note(format!(
                "{} `{}` {}{hint}",
                problem.code.as_str(),
                problem.path,
                problem.what
            ));
        }
        Exit::Configuration
    })
}

async fn find_out(asked: &Asked, connector: &Connector, samples: &[sample::Sample]) -> Told<Found> {
    let registry = registry_of(connector);
    let client = registry.map(Client::new).transpose().map_err(|error| failure(&error))?;
    let help = Help {
        registry: client.as_ref(),
        subjects: registry.map_or(&SubjectNames::TopicName, |registry| &registry.subjects),
        avro_schema: asked.avro_schema.is_some(),
    };
    let found = recognise(&asked.topic, samples, &help).await;
    found.map_err(|error| failure(&error))?.map_err(|missing| {
        print::note(missing);
        Exit::NegativeFinding
    })
}

fn registry_of(connector: &Connector) -> Option<&config::Registry> {
    let output = connector.outputs.values().next()?;
    match &output.decode.value {
        Payload::Avro(avro) => match &avro.schemas {
            AvroSchemas::Registry(registry) => Some(registry),
            AvroSchemas::Fixed(_) => None,
        },
        _ => None,
    }
}

fn failure(error: &RegistryError) -> Exit {
    print::note(format!("{}: {error}", error.code()));
    match error.disposition() {
        Disposition::Stop(exit) => exit,
        Disposition::StandDown => Exit::Fenced,
        Disposition::Retry => Exit::Unreachable,
    }
}

fn exists(file: &Path) -> Exit {
    print::note(format!("{} is there already; --force replaces it", file.display()));
    Exit::Usage
}

fn save(text: &str, file: Option<&Path>, force: bool) -> Told<()> {
    let Some(file) = file else {
        return Ok(());
    };
    let opened = match force {
        true => File::create(file),
        // Somebody may have made it meanwhile.
        false => OpenOptions::new().write(true).create_new(true).open(file),
    };
    opened.and_then(|mut opened| opened.write_all(text.as_bytes())).map_err(|error| {
        if error.kind() == ErrorKind::AlreadyExists {
            return exists(file);
        }
        print::note(format!("{} can't be written: {error}", file.display()));
        Exit::Usage
    })
}

fn report(args: &InitArgs, found: &Found, trial: &Trial, text: &str) {
    let what = found.format.describe();
    if args.json {
        let left_out = found.format.left_out();
        print::json(&json!({
            "topic": args.topic,
            "format": found.format.word(),
            "records": trial.records,
            "bad": trial.bad,
            "left_out": left_out,
            "notes": found.notes,
            "file": args.output,
            "config": text,
        }));
    } else if args.output.is_none() {
        print::line(text.trim_end());
    }
    found.notes.iter().for_each(print::note);
    let bad = if trial.bad > 0 { format!(", {} bad", trial.bad) } else { String::new() };
    print::note(format!(
        "{}: {what}; {} looked at{bad}",
        args.topic,
        count(trial.records, "record")
    ));
    if let Some(file) = &args.output {
        let file = file.display();
        print::note(format!("{file} is written; next: sluice check {file}, sluice run {file}"));
    }
}

#[cfg(test)]
mod tests;

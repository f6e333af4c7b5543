//! What `check` finds: a line each, and the exit code that all of them come to.

use serde::Serialize;

use super::super::print;
use crate::disposition::{Disposition, Exit};
use crate::engine::EngineError;
use crate::sink::create::TableError;
use crate::sink::error::SinkError;
use crate::sink::features::TableProblem;
use crate::source::SourceError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Finding<'a> {
    level: Level,
    /// `None` for what is in order.
    code: Option<&'a str>,
    subject: &'a str,
    what: &'a str,
}

/// Prints findings as they come, and remembers the worst.
#[derive(Debug)]
pub struct Findings {
    json: bool,
    failed: bool,
    unreachable: bool,
    /// Stores or clients that can't even be set up.
    configuration: bool,
}

impl Findings {
    pub fn new(json: bool) -> Self {
        Self { json, failed: false, unreachable: false, configuration: false }
    }

    pub fn ok(&mut self, subject: &str, what: impl AsRef<str>) {
        self.print(Level::Ok, None, subject, what.as_ref());
    }

    pub fn warn(&mut self, code: &str, subject: &str, what: impl AsRef<str>) {
        self.print(Level::Warn, Some(code), subject, what.as_ref());
    }

    pub fn fail(&mut self, code: &str, subject: &str, what: impl AsRef<str>) {
        self.failed = true;
        self.print(Level::Fail, Some(code), subject, what.as_ref());
    }

    /// Each problem of a table on a line of its own.
    pub fn problems(&mut self, subject: &str, problems: &[TableProblem]) {
        for problem in problems {
            self.fail(problem.code(), subject, problem.to_string());
        }
    }

    pub fn error(&mut self, subject: &str, error: &EngineError) {
        if let EngineError::Table(TableError::Unfit { problems, .. }) = error {
            return self.problems(subject, problems);
        }
        if is_out_of_reach(error) {
            self.unreachable = true;
        } else if error.disposition() == Disposition::Stop(Exit::Configuration) {
            self.configuration = true;
        } else {
            self.failed = true;
        }
        self.print(Level::Fail, Some(error.code()), subject, &error.to_string());
    }

    /// What is certainly wrong goes before what couldn't be looked at.
    pub fn exit(&self) -> Exit {
        match (self.failed, self.configuration, self.unreachable) {
            (true, _, _) => Exit::NegativeFinding,
            (_, true, _) => Exit::Configuration,
            (_, _, true) => Exit::Unreachable,
            _ => Exit::Done,
        }
    }

    fn print(&self, level: Level, code: Option<&str>, subject: &str, what: &str) {
        if self.json {
            print::json(&Finding { level, code, subject, what });
            return;
        }
        let level = match level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "fail",
        };
        let code = code.map_or_else(String::new, |code| format!("{code} "));
        print::line(format!("{level}  {code}{subject}: {what}"));
    }
}

/// Whether it is the way that is blocked, not the thing that is wrong. A topic that isn't there is worth waiting for
/// to a connector, but to a check it is an answer.
fn is_out_of_reach(error: &EngineError) -> bool {
    match error {
        EngineError::Source(SourceError::Unreachable { .. } | SourceError::Stalled { .. }) => true,
        EngineError::Source(_) => false,
        EngineError::Sink(error) | EngineError::Table(TableError::Sink(error)) => {
            matches!(error, SinkError::Store { .. } | SinkError::Replay { .. })
                && error.disposition() == Disposition::Retry
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(errors: Vec<EngineError>, expected: Exit) {
        let mut findings = Findings::new(true);
        findings.ok("configuration", "valid");
        findings.warn("SL5101", "output", "worth a look");
        for error in &errors {
            findings.error("subject", error);
        }
        assert_eq!(findings.exit(), expected, "{errors:?}");
    }

    fn unreachable() -> EngineError {
        EngineError::Source(SourceError::Unreachable {
            brokers: "kafka-0:9093".into(),
            action: "list topics",
            reason: "timed out".into(),
        })
    }

    fn unknown_topic() -> EngineError {
        EngineError::Source(SourceError::UnknownTopic {
            brokers: "kafka-0:9093".into(),
            topic: "orders".into(),
        })
    }

    #[test]
    fn what_is_certainly_wrong_decides_the_exit_code() {
        check(vec![], Exit::Done);
        check(vec![unreachable()], Exit::Unreachable);
        check(vec![unknown_topic()], Exit::NegativeFinding);
        check(vec![unreachable(), unknown_topic()], Exit::NegativeFinding);
    }
}

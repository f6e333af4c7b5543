//! The progress bar of a backlog, drawn on stderr when that is a terminal, from the same [`Status`] as the
//! status page. Nothing is drawn elsewhere: logs say there what has been done.

use std::sync::LazyLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::status::{Snapshot, Status};

/// indicatif hides it by itself when stderr is no terminal.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Fast enough to look alive, slow enough to cost nothing.
const REDRAW: Duration = Duration::from_millis(200);

const TEMPLATE: &str =
    "{prefix} {bar:30} {human_pos}/{human_len} records, {per_sec}, {eta} left · {msg}";

/// One connector's bar; gone when dropped.
pub struct BacklogBar(ProgressBar);

impl BacklogBar {
    /// Draws until the future is dropped. Where stderr is no terminal it just waits.
    pub async fn follow(status: &Status) {
        let bar = Self::new(&status.snapshot().connector);
        if bar.0.is_hidden() {
            return std::future::pending().await;
        }
        let mut ticks = tokio::time::interval(REDRAW);
        loop {
            ticks.tick().await;
            bar.show(&status.snapshot());
        }
    }

    fn new(connector: &str) -> Self {
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is valid");
        let bar = ProgressBar::no_length().with_prefix(connector.to_owned()).with_style(style);
        Self(BARS.add(bar))
    }

    fn show(&self, snapshot: &Snapshot) {
        let (done, left) = snapshot.totals();
        self.0.set_length(done + left);
        self.0.set_position(done);
        self.0.set_message(snapshot.state.as_str());
    }
}

impl Drop for BacklogBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Runs `write` with no bar in its way.
pub(super) fn suspended<T>(write: impl FnOnce() -> T) -> T {
    BARS.suspend(write)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offsets::TopicPartition;

    #[test]
    fn the_bar_shows_what_is_done_of_what_there_is() {
        let status = Status::new("orders", [("raw", "./lake/orders")]);
        status.recovered("raw", 1, &[(TopicPartition::new("orders", 0), 10)]);
        status.end("raw", &[(TopicPartition::new("orders", 0), 100, 0.0)]);
        let bar = BacklogBar::new("orders");
        bar.show(&status.snapshot());
        assert_eq!((bar.0.position(), bar.0.length()), (0, Some(90)));
    }
}

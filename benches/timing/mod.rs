//! Processor time for benches: the machine is shared, so the clock tells little.

use std::time::{Duration, Instant};

/// The thread's time on a processor; by the clock where Linux doesn't tell.
pub fn timed(run: impl FnOnce()) -> Duration {
    let on_cpu = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    };
    let (start, clock) = (on_cpu(), Instant::now());
    run();
    let elapsed = clock.elapsed();
    start.zip(on_cpu()).map_or(elapsed, |(start, end)| end - start)
}

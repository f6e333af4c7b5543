//! Asked to stop: first kindly, then by a deadline.

use std::time::Duration;

use tokio::sync::watch;

/// Tells a running engine to stop.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

/// Hears of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// Both ends.
pub fn channel() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (ShutdownTrigger(sender), Shutdown(receiver))
}

impl ShutdownTrigger {
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when a stop is requested; never when the trigger is gone without one.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|requested| *requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when a stop was requested and `grace` has passed since.
    pub async fn overdue(&self, grace: Duration) {
        self.requested().await;
        tokio::time::sleep(grace).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_hears_of_a_stop_even_late() {
        let (trigger, shutdown) = channel();
        let early = shutdown.clone();
        assert!(!early.is_requested());
        trigger.request();
        early.requested().await;
        shutdown.overdue(Duration::ZERO).await;
        assert!(shutdown.is_requested());
    }
}

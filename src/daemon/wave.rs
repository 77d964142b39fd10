//! Rotations that are due at the same time and have no consumer in common: they go side by side, and meet before what one
//! may do for all, a daemon-reload and the sweep for evidence.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::dbus::systemd1::Systemd;
use crate::rotation::Fault;

/// How long those that are there wait for those that are not, once nobody came any more: a slow consumer does not hold up
/// the others for long…
const PATIENCE: Duration = Duration::from_secs(10);
/// … and a slow machine no longer than this.
const LONGEST: Duration = Duration::from_secs(60);

/// Rotations side by side.
#[derive(Default)]
struct Wave {
    /// At how many meetings each of them has been.
    met: Mutex<BTreeMap<usize, u32>>,
    moved: Notify,
    /// When the last daemon-reload began, and what came of it.
    reload: tokio::sync::Mutex<Option<(Instant, Result<(), Fault>)>>,
}

/// One that goes in a wave; it leaves when this is dropped.
pub struct Rider {
    wave: Arc<Wave>,
    number: usize,
}

/// As many as go side by side.
pub fn of(count: usize) -> Vec<Rider> {
    let met = Mutex::new((0..count).map(|number| (number, 0)).collect());
    let wave = Arc::new(Wave { met, ..Wave::default() });
    (0..count).map(|number| Rider { wave: Arc::clone(&wave), number }).collect()
}

impl Rider {
    /// Waits until all others have come as far, or left, or patience is over.
    pub async fn meet(&self) {
        let end = Instant::now() + LONGEST;
        let mut until = Instant::now() + PATIENCE;
        let meeting = {
            let mut met = self.wave.met();
            let own = met.entry(self.number).or_default();
            *own += 1;
            *own
        };
        self.wave.moved.notify_waiters();
        loop {
            let moved = self.wave.moved.notified();
            if self.wave.met().values().all(|met| *met >= meeting) || timeout_at(until, moved).await.is_err() {
                return;
            }
            until = end.min(Instant::now() + PATIENCE);
        }
    }

    /// Meets the others; then there is one daemon-reload for all that need it.
    ///
    /// # Errors
    /// Where that failed.
    pub async fn daemon_reload(&self, systemd: &Systemd, needed: bool) -> Result<(), Fault> {
        let since = Instant::now();
        self.meet().await;
        if !needed {
            return Ok(());
        }
        let mut reload = self.wave.reload.lock().await;
        match &*reload {
            Some((began, came)) if *began >= since => came.clone(),
            // Nobody's yet, or it began before what is needed was written.
            _ => {
                let began = Instant::now();
                let came = systemd.reload().await.map_err(Fault::from);
                *reload = Some((began, came.clone()));
                came
            }
        }
    }
}

impl Wave {
    fn met(&self) -> MutexGuard<'_, BTreeMap<usize, u32>> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Rider {
    fn drop(&mut self) {
        self.wave.met().remove(&self.number);
        self.wave.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_goes_on_before_all_are_there_or_have_left() {
        let mut riders = of(3);
        let (late, leaves, first) = (riders.remove(2), riders.remove(1), riders.remove(0));
        let began = Instant::now();
        let waiting = tokio::spawn(async move { first.meet().await });
        tokio::task::yield_now().await;
        drop(leaves);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        late.meet().await;
        waiting.await.unwrap();
        assert_eq!(Instant::now(), began, "nobody's patience was needed");
    }

    #[tokio::test(start_paused = true)]
    async fn as_long_as_others_are_coming_all_are_waited_for() {
        let mut riders = of(3);
        let (last, second, first) = (riders.remove(2), riders.remove(1), riders.remove(0));
        let waiting = tokio::spawn(async move { first.meet().await });
        tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
        let second = tokio::spawn(async move { second.meet().await });
        tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
        assert!(!waiting.is_finished() && !second.is_finished());
        last.meet().await;
        waiting.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_come_holds_nobody_up_for_long() {
        let mut riders = of(2);
        let absent = riders.remove(1);
        let began = Instant::now();
        riders.remove(0).meet().await;
        assert!(began.elapsed() <= PATIENCE, "{:?}", began.elapsed());
        drop(absent);
    }
}

//! One movement per consumer at a time: who is being moved, and waiting for it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The consumers that are being moved.
#[derive(Clone, Default)]
pub struct Busy {
    taken: Arc<Mutex<BTreeSet<String>>>,
    freed: Arc<Notify>,
}

/// Consumers that are taken until this is dropped.
pub struct Taken {
    busy: Busy,
    consumers: Vec<String>,
}

impl Busy {
    /// Takes all of `consumers`, or none.
    ///
    /// # Errors
    /// The one that is taken already.
    pub fn take(&self, consumers: &[String]) -> Result<Taken, String> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(consumer) = consumers.iter().find(|consumer| taken.contains(*consumer)) {
            return Err(consumer.clone());
        }
        taken.extend(consumers.iter().cloned());
        Ok(Taken { busy: self.clone(), consumers: consumers.to_vec() })
    }

    /// Whether nothing is being moved.
    pub fn is_idle(&self) -> bool {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Takes all of `consumers`, once they are free.
    pub async fn wait_and_take(&self, consumers: &[String]) -> Taken {
        loop {
            // Registered before the look, so that what is freed between look and wait is not missed.
            let freed = self.freed.notified();
            match self.take(consumers) {
                Ok(taken) => return taken,
                Err(_) => freed.await,
            }
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.busy.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for consumer in &self.consumers {
            taken.remove(consumer);
        }
        self.busy.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_consumer_is_taken_once_and_all_or_none() {
        let busy = Busy::default();
        let first = busy.take(&units(&["a", "b"])).unwrap();
        assert_eq!(busy.take(&units(&["c", "b"])).err().as_deref(), Some("b"));
        assert!(busy.take(&units(&["c"])).is_ok(), "what was refused took nothing");
        drop(first);
        assert!(busy.take(&units(&["b"])).is_ok());
    }

    #[tokio::test]
    async fn who_waits_gets_it_when_it_is_free() {
        let busy = Busy::default();
        let first = busy.take(&units(&["a"])).unwrap();
        let waiting = tokio::spawn({
            let busy = busy.clone();
            async move { busy.wait_and_take(&units(&["a"])).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
    }
}

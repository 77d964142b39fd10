//! How much one user may ask of the daemon at a time: a flood from one is told off, and the others are served.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::dbus::rekeyd1::Error;

/// So many calls of a user may be under way.
const MOST_UNDER_WAY: u32 = 16;
/// So much may be asked for at once…
const SHARE: f64 = 200.0;
/// …and so much more each second.
const REFILL_PER_SECOND: f64 = 40.0;
/// More names on the bus are not remembered.
const MOST_NAMES: usize = 1024;

/// Counts what users ask for. Root is not counted.
#[derive(Clone, Default)]
pub struct Gate {
    users: Arc<Mutex<BTreeMap<u32, Share>>>,
    /// The bus never gives a unique name to another: what was asked once need not be asked again.
    names: Arc<Mutex<BTreeMap<String, u32>>>,
}

struct Share {
    left: f64,
    at: Instant,
    under_way: u32,
}

/// A call that was let in; it counts until this is dropped.
#[must_use]
pub struct Pass {
    gate: Gate,
    uid: u32,
}

impl Gate {
    /// Lets in a call of a user.
    ///
    /// # Errors
    /// Where the user asks for too much.
    pub fn enter(&self, uid: u32, cost: u32) -> Result<Pass, Error> {
        if uid != 0 {
            self.count(uid, cost, Instant::now())?;
        }
        Ok(Pass { gate: self.clone(), uid })
    }

    fn count(&self, uid: u32, cost: u32, now: Instant) -> Result<(), Error> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|_, share| share.under_way > 0 || now.duration_since(share.at) < Duration::from_secs(60));
        let share = users.entry(uid).or_insert(Share { left: SHARE, at: now, under_way: 0 });
        let refill = now.duration_since(share.at).as_secs_f64() * REFILL_PER_SECOND;
        (share.left, share.at) = ((share.left + refill).min(SHARE), now);
        if share.under_way >= MOST_UNDER_WAY {
            return Err(Error::Busy(format!("uid {uid} has {MOST_UNDER_WAY} calls under way already; ask one by one")));
        }
        if share.left < f64::from(cost) {
            return Err(Error::Busy(format!("uid {uid} asks too often; wait a few seconds")));
        }
        share.left -= f64::from(cost);
        share.under_way += 1;
        Ok(())
    }

    /// The user of a name on the bus, where it is known already.
    pub fn uid(&self, sender: &str) -> Option<u32> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).get(sender).copied()
    }

    /// Remembers the user of a name on the bus.
    pub fn remember(&self, sender: &str, uid: u32) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= MOST_NAMES {
            names.clear();
        }
        names.insert(sender.to_owned(), uid);
    }

    /// Forgets all names: this is another bus.
    pub fn forget_names(&self) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut users = self.gate.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = users.get_mut(&self.uid) {
            share.under_way = share.under_way.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_calls_under_way_and_others_are_not_concerned() {
        let gate = Gate::default();
        let mut passes: Vec<_> = (0..MOST_UNDER_WAY).map(|_| gate.enter(1000, 1).unwrap()).collect();
        assert!(matches!(gate.enter(1000, 1), Err(Error::Busy(_))));
        assert!(gate.enter(1001, 1).is_ok() && gate.enter(0, 1).is_ok());
        passes.pop();
        assert!(gate.enter(1000, 1).is_ok());
    }

    #[test]
    fn who_asks_too_often_is_told_so_and_served_again_later() {
        let (gate, start) = (Gate::default(), Instant::now());
        for _ in 0..10 {
            gate.count(1000, 20, start).unwrap();
        }
        assert!(matches!(gate.count(1000, 20, start), Err(Error::Busy(_))));
        gate.count(1000, 20, start + Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn root_is_never_told_off() {
        let gate = Gate::default();
        let passes: Vec<_> = (0..1000).map(|_| gate.enter(0, 20).unwrap()).collect();
        assert_eq!(passes.len(), 1000);
    }
}

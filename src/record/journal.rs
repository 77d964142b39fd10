//! The journal entry of a record: a pure rendering. `daemon::journal` sends it.

use super::audit::is_end;
use super::chain::Head;
use super::text;
use super::{Activated, Happening, Hold, HookCame, Record, Seen, Standing, message_id};
use crate::rotation::{Generation, Outcome, Phase};

/// `REKEYD_ACTOR` of what is done without being asked again: going on with a rotation that was interrupted.
const RECOVERY: &str = "recovery";

/// How urgent an entry is, as in syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Priority {
    /// A person must act at once.
    Critical,
    /// Something failed.
    Error,
    /// Something may need attention.
    Warning,
    /// Something worth noticing happened.
    Notice,
    /// For the record.
    Info,
    /// For those who look closely.
    Debug,
}

/// An entry, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `PRIORITY`.
    pub priority: Priority,
    /// `MESSAGE_ID`.
    pub message_id: &'static str,
    /// `MESSAGE`.
    pub message: String,
    /// `REKEYD_SECRET`.
    pub secret: Option<String>,
    /// `REKEYD_ROTATION`.
    pub rotation: Option<String>,
    /// `REKEYD_BATCH`: what it goes together with others as.
    pub batch: Option<String>,
    /// `REKEYD_MOVEMENT`, from 1, or `back`.
    pub movement: Option<String>,
    /// `REKEYD_STEP`.
    pub step: Option<String>,
    /// `REKEYD_RESULT`: `began`, `passed`, `failed`, or the outcome.
    pub result: Option<String>,
    /// `REKEYD_TARGET`.
    pub target: Option<String>,
    /// `REKEYD_GENERATION`: the primary generation that the consumers are being taken to.
    pub generation: Option<String>,
    /// `REKEYD_FINGERPRINT` of that generation.
    pub fingerprint: Option<String>,
    /// `REKEYD_ACTOR`.
    pub actor: Option<String>,
    /// `REKEYD_REASON`: why it was asked for, or why it failed.
    pub reason: Option<String>,
    /// `REKEYD_ADVICE`: what to do about it.
    pub advice: Option<String>,
    /// `REKEYD_DURATION_USEC`.
    pub duration: Option<String>,
    /// `REKEYD_CHAIN`: the hash of the record, but for the steps of a rotation.
    pub chain: Option<String>,
}

impl Entry {
    /// An entry with a message alone.
    pub fn new(priority: Priority, message_id: &'static str, message: impl Into<String>) -> Self {
        Self {
            priority,
            message_id,
            message: message.into(),
            secret: None,
            rotation: None,
            batch: None,
            movement: None,
            step: None,
            result: None,
            target: None,
            generation: None,
            fingerprint: None,
            actor: None,
            reason: None,
            advice: None,
            duration: None,
            chain: None,
        }
    }
}

/// The entry of `record`. `standing` is what the records add up to with it, `head` its hash.
pub fn entry(record: &Record, head: &Head, standing: &Standing) -> Entry {
    let (priority, message_id) = kind(record);
    let mut entry =
        Entry::new(priority, message_id, format!("{}: {}", record.secret, text::sentence(record, standing)));
    entry.secret = Some(record.secret.to_string());
    entry.rotation = record.rotation.as_ref().map(ToString::to_string);
    entry.chain = is_end(record).then(|| head.to_string());
    if record.rotation.is_some() {
        let under_way = standing.transaction.as_ref().map(|transaction| &transaction.batch);
        let batch = under_way.or(standing.last.as_ref().map(|last| &last.batch));
        entry.batch = batch.and_then(|batch| batch.as_ref().map(|batch| batch.id.to_string()));
    }
    if let Some(transaction) = &standing.transaction {
        entry.actor =
            Some(if transaction.interruptions > 0 { RECOVERY.to_owned() } else { transaction.actor.to_string() });
        if let Some(phase) = transaction.phase() {
            let mut makes = transaction.plan.makes.iter();
            if makes.all(|made| standing.generation(*made).is_some()) {
                point_to(&mut entry, standing, transaction.plan.view_in(phase).primary);
            }
        }
    }
    match &record.what {
        Happening::Adopted { generation, source, actor, weak, .. } => {
            entry.advice = weak.then(|| format!("rekeyctl rotate {}", record.secret));
            point_to(&mut entry, standing, *generation);
            entry.target = Some(source.clone());
            entry.actor = Some(actor.to_string());
        }
        Happening::Requested { actor, reason, .. } => {
            entry.actor = Some(actor.to_string());
            entry.reason = (!reason.is_empty()).then(|| reason.clone());
        }
        Happening::TurnedAway { actor, cause } => {
            entry.actor = Some(actor.to_string());
            entry.result = Some("refused".to_owned());
            entry.reason = Some(cause.message.clone());
            entry.advice = (!cause.advice.is_empty()).then(|| cause.advice.clone());
        }
        Happening::Began { phase } => place(&mut entry, phase, "began"),
        Happening::Passed { phase, took_us, seen } => {
            place(&mut entry, phase, "passed");
            if let Seen::Delivered { targets, left, .. } = seen {
                entry.target = Some(targets.join(", "));
                entry.advice = left.first().map(|left| left.fault.advice.clone());
            }
            entry.duration = Some(took_us.to_string());
        }
        Happening::Failed { phase, took_us, fault } => {
            place(&mut entry, phase, "failed");
            entry.duration = Some(took_us.to_string());
            entry.reason = Some(fault.message.clone());
            entry.advice = (!fault.advice.is_empty()).then(|| fault.advice.clone());
        }
        Happening::Hook { hook, came } => {
            entry.step = Some(hook.to_string());
            let (result, took_us) = match came {
                HookCame::Began => ("began", None),
                HookCame::Passed { took_us, .. } => ("passed", Some(took_us)),
                HookCame::Failed { took_us, fault } => {
                    entry.reason = Some(fault.message.clone());
                    entry.advice = (!fault.advice.is_empty()).then(|| fault.advice.clone());
                    ("failed", Some(took_us))
                }
            };
            (entry.result, entry.duration) = (Some(result.to_owned()), took_us.map(ToString::to_string));
        }
        Happening::Ended { outcome, took_us } => {
            entry.result = Some(outcome.as_str().to_owned());
            entry.duration = Some(took_us.to_string());
            entry.reason = outcome.cause().map(|cause| cause.message.clone());
            entry.advice = outcome.cause().map(|cause| cause.advice.clone()).filter(|advice| !advice.is_empty());
            entry.actor = standing.last.as_ref().map(|last| match last.interrupted {
                true => RECOVERY.to_owned(),
                false => last.actor.to_string(),
            });
            if let Some(view) = &standing.in_force {
                point_to(&mut entry, standing, view.primary);
            }
        }
        Happening::Held { hold } => entry.reason = Some(hold.sentence()),
        Happening::Released { actor }
        | Happening::Paused { actor }
        | Happening::Unpaused { actor }
        | Happening::Searched { actor }
        | Happening::Forgotten { actor } => entry.actor = Some(actor.to_string()),
        Happening::Revealed { generation, actor } => {
            point_to(&mut entry, standing, *generation);
            entry.actor = Some(actor.to_string());
        }
        Happening::Abandoned { fault } => {
            entry.reason = Some(fault.message.clone());
            entry.advice = Some(fault.advice.clone());
        }
        Happening::Resumed
        | Happening::RetryArmed { .. }
        | Happening::RetireArmed { .. }
        | Happening::CarriedOver { .. } => {}
    }
    entry
}

fn kind(record: &Record) -> (Priority, &'static str) {
    use Priority::{Critical, Debug, Error, Info, Notice, Warning};
    match &record.what {
        Happening::Adopted { weak: true, .. } => (Warning, message_id::SECRET_ADOPTED),
        Happening::Adopted { .. } => (Notice, message_id::SECRET_ADOPTED),
        Happening::Requested { .. } => (Notice, message_id::ROTATION_BEGAN),
        Happening::TurnedAway { .. } => (Warning, message_id::ROTATION_REFUSED),
        Happening::Began { phase: Phase::Back { step: crate::rotation::Step::Deliver, .. } } => {
            (Warning, message_id::ROLLBACK_BEGAN)
        }
        Happening::Began { .. } | Happening::CarriedOver { .. } => (Debug, message_id::STEP_BEGAN),
        Happening::Passed { seen: Seen::Delivered { exposed, .. }, .. } if !exposed.is_empty() => {
            (Warning, message_id::VALUE_EXPOSED)
        }
        Happening::Passed { seen: Seen::Delivered { left, .. }, .. } if !left.is_empty() => {
            (Warning, message_id::STEP_PASSED)
        }
        Happening::Passed { seen: Seen::Active { activated, .. }, .. }
            if activated.iter().any(|activated| matches!(activated, Activated::Replaced { .. })) =>
        {
            (Warning, message_id::STEP_PASSED)
        }
        Happening::Passed { seen: Seen::Ready { found, .. }, .. }
            if found.iter().any(|found| !found.bystanders.is_empty() || !found.passing.is_empty()) =>
        {
            (Warning, message_id::STEP_PASSED)
        }
        Happening::Passed { .. } => (Info, message_id::STEP_PASSED),
        Happening::Failed { .. } => (Warning, message_id::STEP_FAILED),
        Happening::Hook { came: HookCame::Began, .. } => (Debug, message_id::STEP_BEGAN),
        Happening::Hook { came: HookCame::Passed { .. }, .. } => (Info, message_id::STEP_PASSED),
        Happening::Hook { came: HookCame::Failed { .. }, .. } => (Error, message_id::HOOK_FAILED),
        Happening::Resumed => (Notice, message_id::ROTATION_RESUMED),
        Happening::Ended { outcome, .. } => match outcome {
            Outcome::Committed => (Notice, message_id::ROTATION_COMMITTED),
            Outcome::RolledBack { .. } => (Error, message_id::ROTATION_ROLLED_BACK),
            Outcome::RollbackFailed { .. } => (Critical, message_id::ROLLBACK_FAILED),
            Outcome::Refused { .. } => (Warning, message_id::ROTATION_REFUSED),
        },
        Happening::RetryArmed { .. } => (Notice, message_id::RETRY_ARMED),
        Happening::RetireArmed { .. } => (Notice, message_id::RETIRE_ARMED),
        Happening::Held { hold: Hold::RollbackFailed } => (Critical, message_id::SECRET_HELD),
        Happening::Held { .. } => (Error, message_id::SECRET_HELD),
        Happening::Released { .. } => (Notice, message_id::SECRET_RELEASED),
        Happening::Revealed { .. } => (Warning, message_id::VALUE_REVEALED),
        Happening::Searched { .. } => (Notice, message_id::VALUE_SEARCHED),
        Happening::Abandoned { .. } => (Error, message_id::ROTATION_ABANDONED),
        Happening::Forgotten { .. } => (Notice, message_id::SECRET_FORGOTTEN),
        Happening::Paused { .. } => (Notice, message_id::SCHEDULE_PAUSED),
        Happening::Unpaused { .. } => (Notice, message_id::SCHEDULE_RESUMED),
    }
}

fn place(entry: &mut Entry, phase: &Phase, result: &str) {
    entry.step = Some(phase.step_name().to_owned());
    entry.result = Some(result.to_owned());
    entry.movement = match phase {
        Phase::Forth { movement, .. } => Some((movement + 1).to_string()),
        Phase::Back { .. } => Some("back".to_owned()),
        _ => None,
    };
    if let Phase::Back { cause, .. } = phase {
        entry.reason = Some(cause.message.clone());
    }
}

fn point_to(entry: &mut Entry, standing: &Standing, number: Generation) {
    entry.generation = Some(number.to_string());
    entry.fingerprint = standing.generation(number).map(|generation| generation.fingerprint.to_string());
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::record::{Actor, RotationId};
    use crate::rotation::{Plan, View};

    #[test]
    fn what_is_gone_on_with_is_recoverys_and_says_who_had_asked_no_more() {
        let plan = Plan::replace(View::of(Generation(1)), Generation(2));
        let requested = Happening::Requested { plan, actor: Actor::Timer, reason: String::new(), batch: None };
        let ended = Happening::Ended { outcome: Outcome::Committed, took_us: 1 };
        let mut standing = Standing::default();
        let mut actors = Vec::new();
        for (what, seq) in [requested, Happening::Resumed, ended].into_iter().zip(1..) {
            let (secret, rotation) = ("jwt".to_owned().try_into().unwrap(), Some(RotationId::from_bytes([1; 16])));
            let record = Record { seq, at: Timestamp::UNIX_EPOCH, secret, rotation, what };
            standing.apply(&record).unwrap();
            actors.push(entry(&record, &Head::default(), &standing).actor.unwrap());
        }
        assert_eq!(actors, ["timer", "recovery", "recovery"]);
    }
}

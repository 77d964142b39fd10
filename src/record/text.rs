//! The words for a record: a sentence for the journal, a line for a terminal. Pure.

use std::time::Duration;

use super::{Activated, Evidence, Found, Happening, Hold, Hook, HookCame, Left, NewValue, Record, Seen, Standing};
use crate::rotation::{Fault, Intent, Outcome};

/// What is said of a weak value.
pub const WEAK: &str = "it is shorter or simpler than `bytes` asks for, and may be guessed";

/// What happened, in a sentence without a full stop.
pub fn sentence(record: &Record, standing: &Standing) -> String {
    match &record.what {
        Happening::Adopted { generation, fingerprint, source, weak, accepted, .. } => {
            let weak = if *weak { format!("; {WEAK}: rotate it soon") } else { String::new() };
            let besides = |NewValue { generation, fingerprint }: &NewValue| {
                format!("; the consumers accept generation {generation} (fingerprint {fingerprint}) besides")
            };
            let besides: String = accepted.iter().map(besides).collect();
            format!(
                "adopted the value in force at {source} as generation {generation} (fingerprint {fingerprint}){besides}{weak}"
            )
        }
        Happening::Requested { plan, actor, reason, batch } => {
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            let with = batch.as_ref().map_or_else(String::new, |batch| format!(", together with {batch}"));
            let what = match plan.intent {
                Intent::Rotate if plan.emergency => "rotation in an emergency",
                Intent::Rotate => "rotation",
                Intent::Retire => "end of the overlap",
                Intent::Initial => "first rotation, without a way back,",
                Intent::Return if plan.is_again() => "return to the value in force, after a failed rollback,",
                Intent::Return => "rollback to the previous value",
            };
            format!("{what} {} → {} asked for by {actor}{with}{why}", plan.start(), plan.goal())
        }
        Happening::TurnedAway { actor, cause } => {
            format!("refused to the {actor}, nothing was touched: {}", fault_in_words(cause))
        }
        Happening::Began { phase } => format!("{phase} begins"),
        Happening::Passed { phase, took_us, seen } => {
            format!("{phase} passed in {}: {}", duration(*took_us), seen_in_words(seen))
        }
        Happening::Failed { phase, took_us, fault } => {
            format!("{phase} failed after {}: {}", duration(*took_us), fault_in_words(fault))
        }
        Happening::Resumed => "going on with the rotation that was interrupted".to_owned(),
        Happening::Hook { hook, came } => hook_in_words(*hook, came, standing),
        Happening::Ended { outcome, took_us } => {
            let outcome = outcome_in_words(outcome, *took_us, standing);
            match standing.hold_owed() {
                Some(hold) => format!("{outcome}; {}", hold_in_words(&hold, record)),
                None => outcome,
            }
        }
        Happening::RetryArmed { at: Some(at) } => format!("the rotation will be tried again at {at:.0}"),
        Happening::RetryArmed { at: None } => {
            "the rotation will be tried again on the next date of its schedule: its window is over before a next try"
                .to_owned()
        }
        Happening::RetireArmed { at } => format!("the overlap ends at {at:.0}"),
        Happening::Held { hold } => hold_in_words(hold, record),
        Happening::Released { actor } => format!("hold released by {actor}"),
        Happening::Paused { actor } => format!("schedule paused by {actor}"),
        Happening::Unpaused { actor } => format!("schedule resumed by {actor}"),
        Happening::Revealed { generation, actor } => {
            format!("the value of generation {generation} was given to {actor}")
        }
        Happening::Searched { actor } => format!("this host is searched for the values, asked for by {actor}"),
        Happening::Abandoned { fault } => {
            format!("the rotation under way was abandoned: {}", fault_in_words(fault))
        }
        Happening::Forgotten { actor } => format!("let go of by {actor}; the consumers keep the value that they have"),
        Happening::CarriedOver { .. } => "records carried over to a new file".to_owned(),
    }
}

/// The line that a person who follows a rotation sees; `None` for what they need not see.
pub fn line(record: &Record, standing: &Standing) -> Option<String> {
    let mark = |mark: &str, step: &str, text: String| Some(format!("{mark} {step:<9} {text}"));
    match &record.what {
        Happening::Began { .. } | Happening::CarriedOver { .. } => None,
        Happening::Hook { came: HookCame::Began, .. } => None,
        Happening::Hook { hook, came: came @ HookCame::Passed { .. } } => {
            mark("✓", &hook.to_string(), hook_in_words(*hook, came, standing))
        }
        Happening::Hook { hook, came } => mark("✗", &hook.to_string(), hook_in_words(*hook, came, standing)),
        Happening::Passed { phase, took_us, seen } => {
            let text = format!("{} ({})", seen_in_words(seen), duration(*took_us));
            let text = if phase.is_back() { format!("back: {text}") } else { text };
            let is_partial = matches!(seen, Seen::Delivered { left, .. } if !left.is_empty());
            mark(if is_partial { "✗" } else { "✓" }, phase.step_name(), text)
        }
        Happening::Failed { phase, took_us, fault } => {
            let text = format!("{} ({})", fault_in_words(fault), duration(*took_us));
            let text = if phase.is_back() { format!("back: {text}") } else { text };
            mark("✗", phase.step_name(), text)
        }
        Happening::Ended { outcome: Outcome::Committed, took_us } => {
            mark("✓", "commit", committed_in_words(*took_us, standing))
        }
        Happening::Ended { .. } | Happening::Held { .. } | Happening::TurnedAway { .. } => {
            Some(format!("✗ {}", sentence(record, standing)))
        }
        _ => Some(format!("· {}", sentence(record, standing))),
    }
}

fn hold_in_words(hold: &Hold, record: &Record) -> String {
    format!("on hold: {}; nothing rotates until `rekeyctl release {}`", hold.sentence(), record.secret)
}

fn hook_in_words(hook: Hook, came: &HookCame, standing: &Standing) -> String {
    // Without an overlap a token from before is refused for its signature.
    let transaction = standing.transaction.as_ref();
    let is_refused_anyway = transaction.is_some_and(|transaction| transaction.plan.goal().accepted.is_empty());
    match came {
        HookCame::Began => format!("{hook} begins"),
        HookCame::Passed { took_us, receipt } => {
            let unproven = if hook == Hook::Logout {
                "; whether it reaches the backend is not proven: no probe has logged in"
            } else {
                ""
            };
            let receipt = match receipt {
                None => unproven.to_owned(),
                Some(receipt) if is_refused_anyway => format!(
                    "; {}, as it would for its signature alone: that sessions and tokens which are looked up have ended is \
                     not proven",
                    evidence_in_words(receipt)
                ),
                Some(receipt) => format!("; {}", evidence_in_words(receipt)),
            };
            format!("{hook} done in {}{receipt}", duration(*took_us))
        }
        HookCame::Failed { took_us, fault } => format!(
            "{hook} failed after {}, though the new value is in force: {}",
            duration(*took_us),
            fault_in_words(fault)
        ),
    }
}

/// A length of time as people write it.
pub fn duration(us: u64) -> String {
    let duration = Duration::from_micros(us);
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", duration.as_millis()),
        1_000_000..60_000_000 => format!("{:.1} s", duration.as_secs_f64()),
        _ => {
            let seconds = duration.as_secs();
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            if hours > 0 { format!("{hours} h {minutes} min") } else { format!("{minutes} min {} s", seconds % 60) }
        }
    }
}

/// A fault with its advice.
pub fn fault_in_words(fault: &Fault) -> String {
    if fault.advice.is_empty() { fault.message.clone() } else { format!("{} — {}", fault.message, fault.advice) }
}

/// What a phase saw.
pub fn seen_in_words(seen: &Seen) -> String {
    match seen {
        Seen::Ready { found, evidence } => {
            let parts = found.iter().map(found_in_words).chain(evidence.iter().map(evidence_in_words));
            parts.collect::<Vec<_>>().join("; ")
        }
        Seen::Made { made } => {
            let one = |NewValue { generation, fingerprint }: &NewValue| {
                format!("generation {generation}, fingerprint {fingerprint}")
            };
            made.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        Seen::Delivered { targets, exposed, left, .. } => {
            let written = (!targets.is_empty()).then(|| format!("{} written and read back", targets.join(", ")));
            let left = left.iter().map(|Left { target, fault }| match fault.code.leaves_a_file() {
                true => format!("{target} left as it is: {}", fault.message),
                false => format!("{target} is not back: {}", fault.message),
            });
            written.into_iter().chain(left).chain(exposed.iter().cloned()).collect::<Vec<_>>().join("; ")
        }
        Seen::Active { reload, activated } => {
            let reload = match reload {
                Some(reason) => format!("daemon-reload because {reason}"),
                None => "no daemon-reload needed".to_owned(),
            };
            std::iter::once(reload).chain(activated.iter().map(activated_in_words)).collect::<Vec<_>>().join("; ")
        }
        Seen::Proven { evidence } if evidence.is_empty() => "there was nothing to look at".to_owned(),
        Seen::Proven { evidence } => evidence.iter().map(evidence_in_words).collect::<Vec<_>>().join("; "),
    }
}

/// An observation.
pub fn evidence_in_words(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Process { unit, matching: 0, of, without: 0 } => {
            format!("the environment of {of} processes of {unit} dates from their start, and proves nothing")
        }
        Evidence::Process { unit, matching, of, without: 0 } => {
            format!("{matching} of {of} processes of {unit} have the value")
        }
        Evidence::Process { unit, matching, of, without } => {
            format!("{matching} of {of} processes of {unit} have the value, {without} need none")
        }
        Evidence::Unit { unit, settled_ms, .. } => format!("{unit} stayed up for {}", duration(settled_ms * 1000)),
        Evidence::Containers { unit, settled_ms, .. } => {
            format!("{unit} stayed up for {}", duration(settled_ms * 1000))
        }
        Evidence::Instances { unit, pids, settled_ms } => {
            let (count, time) = (pids.len(), duration(settled_ms * 1000));
            let word = if count == 1 { "instance" } else { "instances" };
            format!("{count} {word} of {unit} stayed online for {time}")
        }
        Evidence::Saved { path } => {
            format!("saved for the next boot in {path}, which holds the value and only its owner can read")
        }
        Evidence::NotSaved { why } => format!("nothing saved for the next boot: {why}"),
        Evidence::File { path } => format!("{path} has it"),
        Evidence::Program { target, said } if said.is_empty() => format!("{target} says that it has it"),
        Evidence::Program { target, said } => format!("{target}: {said}"),
        Evidence::Deployment { consumer, deployment, former: true, settled_ms, .. } => {
            let long = duration(settled_ms * 1000);
            format!("{consumer} serves {deployment}, as before the rotation, watched for {long}")
        }
        Evidence::Deployment { consumer, deployment, state, page, other_code, settled_ms, .. } => {
            let code = if *other_code { ", of another commit than what served before" } else { "" };
            let page = if page.is_empty() { String::new() } else { format!(", {page}") };
            let long = duration(settled_ms * 1000);
            format!("{consumer} serves {deployment} ({state}{code}), made after the write, watched for {long}{page}")
        }
        Evidence::Untouched { consumer } => format!("nothing was written at {consumer}"),
        Evidence::Session => "a new session has it".to_owned(),
        Evidence::LoggedOut { protected } => format!("{protected} refuses a token from before the rotation"),
        Evidence::ReEncrypted { took_us } => format!("all data was encrypted anew in {}", duration(*took_us)),
        Evidence::AtNextRestart { unit } => format!("{unit} goes on as it is and takes it with its next restart"),
        Evidence::StoppedWithFormer { unit, start } => {
            format!("{unit} is stopped, and may have its former value unless it is started so, {start}")
        }
        Evidence::Stopped { unit } => format!("{unit} is stopped and has the value for its next start"),
        Evidence::Dependents { active, .. } => format!("{} active again", active.join(", ")),
        Evidence::Jwt { algorithm, signed_with, refused, accepted, .. } => {
            let also: String = accepted.iter().map(|other| format!(", generation {other} accepted too")).collect();
            let refused = refused.join(", ");
            format!("{algorithm} token signed with generation {signed_with}, accepted{also}; refused: {refused}")
        }
        Evidence::Impact { url, sent, failed, longest_gap_ms } => {
            let gap = duration(longest_gap_ms * 1000);
            format!("{failed} of {sent} requests to {url} failed, longest gap {gap}")
        }
        Evidence::Command { program, generation, said } => {
            let said = if said.is_empty() { String::new() } else { format!(": {said}") };
            format!("{program} ended well with generation {generation}{said}")
        }
        Evidence::Http { url, status } => format!("{url} answered {status}"),
    }
}

fn found_in_words(found: &Found) -> String {
    let unit = &found.unit;
    let state = match found.running {
        true if found.is_deployed() => format!("{unit} serves"),
        true => found.sick_in_words().map_or_else(|| format!("{unit} is running"), str::to_owned),
        false => format!("{unit} is stopped on purpose"),
    };
    let with = (!found.dependents.is_empty()).then(|| format!(", with {}", found.dependents.join(", ")));
    let beside = (!found.bystanders.is_empty())
        .then(|| format!("; WARNING: {} has the value too, and keeps the old one", found.bystanders.join(", ")));
    let passing = (!found.passing.is_empty())
        .then(|| format!("; WARNING: {} keeps the old value until it ends", found.passing.join(", ")));
    [Some(state), with, beside, passing].into_iter().flatten().collect()
}

fn activated_in_words(activated: &Activated) -> String {
    match activated {
        Activated::Restarted { unit, took_us } => format!("{unit} restarted in {}", duration(*took_us)),
        Activated::Reloaded { unit, took_us } => format!("{unit} reloaded in {}", duration(*took_us)),
        Activated::AlreadyRunning { unit } => format!("{unit} has it already, not restarted"),
        Activated::WithOthers { unit } => format!("{unit}: done with the others of the batch"),
        Activated::AtNextRestart { unit } => format!("{unit} is not restarted for it"),
        Activated::Ran { program, took_us } => format!("{program} was run in {}", duration(*took_us)),
        Activated::Deployed { consumer, deployment, took_us, .. } => {
            format!("{consumer} serves the deployment {deployment} after {}", duration(*took_us))
        }
        Activated::Replaced { deployment, page, .. } => format!(
            "WARNING: the deployment {deployment} of somebody else, which was made meanwhile and has other code, is not served \
             any more: deploy that anew: {page}"
        ),
        Activated::StillServes { consumer } => format!("{consumer} serves what it served before, not deployed"),
        Activated::OpenSessionsKeepTheirs => "sessions that are open keep the old value".to_owned(),
        Activated::Told { by } => format!("what reads it was told by {by}"),
        Activated::LeftAlone { path } => format!("nothing restarted: what reads {path} takes it when it starts again"),
        Activated::LeftStopped { unit } => format!("{unit} stays stopped"),
    }
}

fn committed_in_words(took_us: u64, standing: &Standing) -> String {
    let (in_force, took) = (in_force(standing), duration(took_us));
    match &standing.last {
        // At the end of an overlap, all have the value in force already.
        Some(last) if !last.retires && !last.waiting.is_empty() => {
            let units = last.waiting.join(", ");
            format!(
                "{in_force} is delivered and read back, after {took}; {units} go on with what they had until their next start"
            )
        }
        Some(last) if !last.read_back.is_empty() => {
            let files = last.read_back.join(", ");
            format!(
                "{in_force} is delivered and read back, after {took}; nothing proves that what reads {files} uses it: a \
                 jwt or command probe would"
            )
        }
        _ => format!("{in_force} is in force and proven, after {took}"),
    }
}

/// The generation in force, with its fingerprint.
fn in_force(standing: &Standing) -> String {
    standing.in_force.as_ref().map_or_else(String::new, |view| {
        let generation = standing.generation(view.primary);
        let fingerprint = generation.map_or_else(String::new, |g| format!(" (fingerprint {})", g.fingerprint));
        format!("generation {}{fingerprint}", view.primary)
    })
}

fn outcome_in_words(outcome: &Outcome, took_us: u64, standing: &Standing) -> String {
    let (took, in_force) = (duration(took_us), in_force(standing));
    match outcome {
        Outcome::Committed => format!("committed: {}", committed_in_words(took_us, standing)),
        Outcome::RolledBack { cause } => {
            let proven = match &standing.last {
                Some(last) if !last.read_back.is_empty() => {
                    format!("is delivered again and read back in {}", last.read_back.join(", "))
                }
                _ => "is in force again and proven".to_owned(),
            };
            format!("rolled back: {in_force} {proven}, after {took}. Cause: {}", fault_in_words(cause))
        }
        Outcome::RollbackFailed { cause, rollback } => format!(
            "rollback failed after {took}: a person is needed. First: {}. Then: {}",
            fault_in_words(cause),
            fault_in_words(rollback)
        ),
        Outcome::Refused { cause } => format!("refused, nothing was touched: {}", fault_in_words(cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_the_old_value_is_told_with_what_was_found() {
        let found = Found {
            unit: "compose app/web".to_owned(),
            running: true,
            bystanders: vec!["compose app/db (within DATABASE_URL)".to_owned()],
            passing: vec!["the container app-web-run-1 (JWT_SECRET)".to_owned()],
            ..Found::default()
        };
        assert_eq!(
            found_in_words(&found),
            "compose app/web is running; WARNING: compose app/db (within DATABASE_URL) has the value too, and keeps the old \
             one; WARNING: the container app-web-run-1 (JWT_SECRET) keeps the old value until it ends"
        );
    }
}

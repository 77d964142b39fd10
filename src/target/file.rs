//! Files of other programs that a value is written into: what every target that does so asks of one.

use std::path::Path;

use super::{Accepts, BY_HAND, Disclosed, Errand};
use crate::helper::{ByHand, FileHelper, Seen, Wanted};
use crate::rotation::{Fault, FaultCode, View};
use crate::secret::{Format, SecretValue, generate};
use crate::store::StoreError;
use crate::text::Slot;

/// Whether a place has what it should. An empty value is as good as none.
pub(super) fn has(value: Option<&SecretValue>, wanted: Option<&SecretValue>) -> bool {
    match (value.filter(|value| !value.is_empty()), wanted) {
        (Some(has), Some(wanted)) => has.is_same(wanted),
        (None, None) => true,
        _ => false,
    }
}

/// The fault, where a place has not what it should.
pub(super) fn differs(place: &str, wanted: Option<&SecretValue>, view: &View) -> Fault {
    if wanted.is_some() {
        return Fault::new(FaultCode::WrongValue, format!("{place} is not that of the view {view}"));
    }
    let message = format!("{place} is not empty, but the view {view} accepts no other value than its own");
    Fault::new(FaultCode::WrongValue, message).advise(format!(
        "unless that value is still needed, empty it ({place}), and restart what reads it; the next overlap fills it again"
    ))
}

/// What the places of a file for the value that is accepted besides have.
pub(super) fn accepts(path: &Path, values: impl IntoIterator<Item = Option<SecretValue>>) -> Result<Accepts, Fault> {
    let place = |(value, number)| (format!("{} ({number})", path.display()), Accepts::of(value));
    Accepts::agreed(values.into_iter().zip(1..).map(place))
}

/// What a place for the primary value, or for the one that is accepted besides, is to have.
pub(super) fn wanted<'a>(errand: &Errand<'a>, is_previous: bool) -> Wanted<'a> {
    let of = |view: &Disclosed<'a>| match is_previous {
        true => view.previous.map_or(&[][..], SecretValue::reveal),
        false => view.primary.reveal(),
    };
    Wanted { value: of(errand.view), only_over: errand.before.map(|views| views.iter().map(of).collect()) }
}

/// Looks whether each place takes a value like those to come, and the one in force again; and whether those of the other
/// value take both, and can be emptied again: `places` are these, each with whether it is for the other value.
pub(super) async fn rehearse(
    files: &FileHelper,
    path: &Path,
    places: &[(Slot, bool)],
    in_force: &Disclosed<'_>,
    (bytes, format): (usize, Format),
) -> Result<(), Fault> {
    let like = generate(bytes, format).map_err(StoreError::from)?;
    let (new, old) = (like.reveal(), in_force.primary.reveal());
    let has_other = places.iter().any(|(_, is_other)| *is_other);
    let rounds = if has_other { &[(new, old), (old, new), (new, &[][..])][..] } else { &[(new, &[][..])] };
    for &(own, other) in rounds {
        let wanted = |is_other: bool| Wanted { value: if is_other { other } else { own }, only_over: None };
        let slots: Vec<_> = places.iter().map(|(slot, is_other)| (slot.clone(), Some(wanted(*is_other)))).collect();
        files.rehearse(path, &slots).await?.map_err(Fault::from)?;
    }
    Ok(())
}

/// Whether the file was written. `name` tells a place by its number.
pub(super) fn check_written(seen: &Seen, secret: &str, name: impl Fn(usize) -> String) -> Result<(), Fault> {
    let Some(ByHand { slot, line }) = seen.by_hand else { return Ok(()) };
    let line = line.map_or(", where it is no more".to_owned(), |line| format!(", line {line}"));
    let message = format!("{}{line}: it was changed by hand since the rotation began, and is left so", name(slot));
    Err(Fault::new(FaultCode::ChangedByHand, message).advise(format!(
        "if that is meant to stay, restart what reads it and take it over: rekeyctl adopt {secret}; if not, write the \
         former value; then rekeyctl release {secret}"
    )))
}

/// The fault, where a file has not what was left in it. `first` says what is to be done before its value can be taken over.
pub(super) fn changed_by_hand(fault: &Fault, first: &str, secret: &str) -> Fault {
    let advice = match fault.advice.as_str() {
        "" => format!(
            "if that value is meant to stay, {first}take it over: rekeyctl adopt {secret}; if not, write the former one"
        ),
        advice => advice.to_owned(),
    };
    Fault::new(fault.code, format!("{}{BY_HAND}", fault.message)).advise(advice)
}

/// Whether a file can be written, and nobody reads it who should not.
pub(super) fn check_usable(file: Seen, path: &Path, expose: bool) -> Result<(), Fault> {
    if let Some(obstacle) = file.obstacle {
        return Err(obstacle.into());
    }
    if file.is_open && !expose {
        let path = path.display();
        let message = format!("every local user can read {path}");
        return Err(Fault::new(FaultCode::FileUnusable, message)
            .advise(format!("chmod o= {path}; or add `expose = true` if everybody here may know it")));
    }
    Ok(())
}

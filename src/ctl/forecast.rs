//! `rotate --dry-run`: what a rotation would do, in words.

use super::{Exit, Out, document};
use crate::dbus::rekeyd1::{Error, ManagerProxy, RotateFlags};
use crate::engine::{Allowance, Forecast};
use crate::record::{Found, Handover, text};

/// No service is ready sooner after its start than this.
const KNOWN_US: u64 = 1000;

/// Prints what a rotation of `name`, with these flags, would do.
pub(super) async fn forecast(
    out: &Out,
    daemon: &ManagerProxy<'_>,
    name: &str,
    flags: RotateFlags,
) -> Result<Exit, Error> {
    let forecast: Forecast = document(&daemon.forecast(name, flags.names()).await?)?;
    tell(out, name, &forecast);
    Ok(Exit::Done)
}

/// Prints it.
pub(super) fn tell(out: &Out, name: &str, forecast: &Forecast) {
    if out.json { out.document(forecast) } else { out.text(&in_words(name, forecast)) }
}

fn in_words(name: &str, forecast: &Forecast) -> String {
    let plan = &forecast.plan;
    let mut lines = vec![format!("{name}: a rotation would take the consumers {} → {}", plan.start(), plan.goal())];
    lines.extend(forecast.targets.iter().map(|target| format!("  deliver   {target}")));
    lines.push(match &forecast.reload {
        Some(reason) => format!("  reload    daemon-reload, because {reason}"),
        None => "  reload    none needed".to_owned(),
    });
    let restarts = plan.last_movement() + 1;
    let times = if restarts > 1 { format!(", {restarts} times") } else { String::new() };
    for found in &forecast.found {
        lines.push(if found.left_alone && found.running {
            format!("  restart   none: {} takes it with its next start, and goes on as it is until then", found.unit)
        } else if found.is_deployed() {
            format!("  deploy    {} anew{times}", found.unit)
        } else if found.running && found.handover == Handover::Reload {
            format!("  reload    {}{times}, which goes on", found.unit)
        } else if found.running {
            format!("  restart   {}{times}", found.unit)
        } else {
            format!("  restart   none: {} is stopped on purpose and stays so", found.unit)
        });
        lines
            .extend(found.dependents.iter().map(|unit| format!("  restart   {unit}, which depends on {}", found.unit)));
        lines.extend(found.bystanders.iter().map(|other| {
            format!("  WARNING   {other} has the value too, and keeps the old one: name it as well, or give it another")
        }));
        lines.extend(found.passing.iter().map(|other| {
            format!("  WARNING   {other} has the value too, and keeps the old one until it ends: nobody replaces it")
        }));
    }
    lines.extend(outage(forecast, restarts));
    let runs = |found: &Found| found.running || found.is_deployed();
    let is_any_asked = forecast.found.is_empty() || forecast.found.iter().any(runs);
    if is_any_asked {
        lines.extend(forecast.probes.iter().map(|probe| format!("  prove     {probe}")));
    } else {
        lines.push("  prove     the delivery alone: nothing runs that could be asked".to_owned());
    }
    if forecast.logout {
        lines.push("  logout    everyone, once the new value is proven: all have to log in again".to_owned());
    }
    if let Some(program) = &forecast.re_encrypt {
        lines.push(format!("  encrypt   all anew, by {program}, once the new value is proven"));
    }
    lines.push(match plan.goal().accepted.first() {
        Some(old) if forecast.re_encrypt.is_some() => {
            format!("  data      encrypted with generation {old} is read until the overlap is over")
        }
        Some(old) if plan.goal().accepted.len() > 1 => {
            format!("  tokens    those of generation {old} stay accepted until the next rotation")
        }
        Some(old) => format!("  tokens    those of generation {old} stay accepted until the overlap is over"),
        None if forecast.found.iter().any(|found| found.left_alone) => {
            "  tokens    those signed with the old value are refused by each service once it was started again"
                .to_owned()
        }
        None if !is_any_asked => {
            "  tokens    those signed with the old value are refused once it is started".to_owned()
        }
        None => "  tokens    those signed with the old value are refused after the restart".to_owned(),
    });
    lines.extend(forecast.evidence.iter().map(|evidence| format!("  now       {}", text::evidence_in_words(evidence))));
    lines.push("nothing was touched".to_owned());
    lines.join("\n")
}

/// What users would notice of the restarts: of a unit alone, of one behind a socket, and of several.
fn outage(forecast: &Forecast, restarts: u32) -> Vec<String> {
    let running = restarted(forecast);
    let times = if restarts > 1 { format!(" each of {restarts} times") } else { String::new() };
    let tell = |found: &&Found| {
        let unit = &found.unit;
        let long = match away(forecast, found) {
            Some(Away { us, is_whole: true }) => format!("for about {}", text::duration(us)),
            Some(Away { us, is_whole: false }) => {
                format!("for about {} and for as long as it takes to stop (which was not seen yet)", text::duration(us))
            }
            None => "for as long as its stop and its start take (which it does not say)".to_owned(),
        };
        let others = others(&running, found);
        let answers = "each new worker listens before an old one ends";
        match (found.handover, found.sockets.as_slice(), others) {
            (Handover::Reload, ..) => format!("  outage    none foretold of {unit}, which is reloaded"),
            (Handover::Overlapping, ..) => format!("  outage    none foretold of {unit}: {answers}"),
            (Handover::Unknown, ..) => {
                format!("  outage    not known of {unit}: its program knows what it has restarted")
            }
            (Handover::Break, [], 0) => format!("  outage    {unit} answers nobody {long}{times}"),
            (Handover::Break, [], _) => {
                format!("  outage    {unit} answers nobody {long}{times}, while {others} other instances do")
            }
            (Handover::Break, sockets, _) => {
                format!("  outage    none: connections wait in {} {long}{times}", sockets.join(", "))
            }
        }
    };
    running.iter().map(tell).chain(over_budget(forecast, &running, restarts)).collect()
}

/// That users would notice more than they are to, where that is certain: of several consumers any may be the one that is
/// watched.
fn over_budget(forecast: &Forecast, running: &[&Found], restarts: u32) -> Option<String> {
    let Allowance { rate, most, budget } = forecast.allowance.as_ref()?;
    let breaks = |found: &&Found| {
        let alone = found.handover == Handover::Break && found.sockets.is_empty() && others(running, found) == 0;
        away(forecast, found).filter(|_| alone).map_or(0, |away| away.us)
    };
    let us = running.iter().map(breaks).min()?.saturating_mul(u64::from(restarts));
    let failed = us.saturating_mul(u64::from(*rate)) / 1_000_000;
    (failed > *most).then(|| {
        format!(
            "  WARNING   about {failed} requests of the watch would fail, more than the error-budget of {budget}: it would be \
             rolled back"
        )
    })
}

/// Those that would be restarted or reloaded.
fn restarted(forecast: &Forecast) -> Vec<&Found> {
    let is_touched = |found: &&Found| found.running && !found.left_alone && !found.is_deployed();
    forecast.found.iter().filter(is_touched).collect()
}

/// How many instances go on answering while one is restarted. Those that are restarted together are down together.
fn others(running: &[&Found], found: &Found) -> usize {
    let all = running.iter().filter(|other| other.configured == found.configured).count();
    all.saturating_sub(found.together.unwrap_or(1))
}

/// How long a restart takes, in microseconds.
struct Away {
    us: u64,
    /// Whether the stop is in it.
    is_whole: bool,
}

/// As it was seen. Of a unit that does not say when it is ready (Type=simple, exec) nothing is known.
fn away(forecast: &Forecast, found: &Found) -> Option<Away> {
    let start = found.start_us.filter(|us| *us >= KNOWN_US)?;
    // The last restart, if there was one, has the stop in it.
    let restart = forecast.restart_us.get(&found.unit);
    Some(Away { us: restart.map_or(start, |restart| start.max(*restart)), is_whole: restart.is_some() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rotation::{Generation, Plan, View};

    fn forecast_of(restart_us: Option<u64>, allowance: Option<Allowance>) -> Forecast {
        let unit = || "nr.service".to_owned();
        Forecast {
            plan: Plan::replace(View::of(Generation::FIRST), Generation::FIRST.next()),
            targets: Vec::new(),
            found: vec![Found {
                configured: unit(),
                unit: unit(),
                running: true,
                start_us: Some(38_000),
                ..Found::default()
            }],
            reload: None,
            restart_us: restart_us.map(|us| (unit(), us)).into_iter().collect::<BTreeMap<_, _>>(),
            allowance,
            probes: Vec::new(),
            evidence: Vec::new(),
            logout: false,
            re_encrypt: None,
            is_edited: false,
        }
    }

    #[test]
    fn a_stop_that_was_not_seen_yet_is_not_left_out_of_the_outage() {
        let said = outage(&forecast_of(None, None), 1);
        let stop = "for as long as it takes to stop (which was not seen yet)";
        assert_eq!(said, [format!("  outage    nr.service answers nobody for about 38 ms and {stop}")]);
        let said = outage(&forecast_of(Some(452_000), None), 1);
        assert_eq!(said, ["  outage    nr.service answers nobody for about 452 ms"]);
    }

    #[test]
    fn an_outage_that_is_more_than_the_error_budget_is_foretold() {
        let allowed = |most| Some(Allowance { rate: 100, most, budget: most.to_string() });
        let said = outage(&forecast_of(Some(452_000), allowed(5)), 1);
        let words =
            "about 45 requests of the watch would fail, more than the error-budget of 5: it would be rolled back";
        assert_eq!(said[1..], [format!("  WARNING   {words}")]);
        assert_eq!(outage(&forecast_of(Some(452_000), allowed(45)), 1).len(), 1);
        assert_eq!(outage(&forecast_of(Some(452_000), allowed(45)), 2).len(), 2);
        // Another one may be the one that is watched, and nobody notices its restart.
        let mut several = forecast_of(Some(452_000), allowed(5));
        several.found.push(Found { sockets: vec!["a.socket".to_owned()], ..several.found[0].clone() });
        assert_eq!(outage(&several, 1).len(), 2);
    }
}

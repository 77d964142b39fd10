//! `rotate --dry-run`: what a rotation would do, in words.

use super::{Exit, Out, document};
use crate::dbus::rekeyd1::{Error, ManagerProxy, RotateFlags};
use crate::engine::Forecast;
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
    let running: Vec<_> =
        forecast.found.iter().filter(|found| found.running && !found.left_alone && !found.is_deployed()).collect();
    let times = if restarts > 1 { format!(" each of {restarts} times") } else { String::new() };
    let tell = |found: &&Found| {
        let unit = &found.unit;
        // The last restart, if there was one: it has the stop in it. Of a unit that does not say when it is ready
        // (Type=simple, exec) nothing is known.
        let measured = found.start_us.filter(|us| *us >= KNOWN_US);
        let measured = measured.map(|start| forecast.restart_us.get(unit).map_or(start, |restart| start.max(*restart)));
        let long = match measured {
            Some(us) => format!("for about {}", text::duration(us)),
            None => "for as long as its start takes (which it does not say)".to_owned(),
        };
        // Those that are restarted together are down together.
        let all = running.iter().filter(|other| other.configured == found.configured).count();
        let others = all.saturating_sub(found.together.unwrap_or(1));
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
    running.iter().map(tell).collect()
}

//! What systemd says of the calendar expressions of schedules: it parses them, nobody else does.

use std::time::Duration;

use jiff::Timestamp;

use crate::config::{Schedule, SecretSettings, Settings};
use crate::helper::{Answer, Calendar, ProcessHelper, Question};

/// Timers elapse a little late.
const ACCURACY: Duration = Duration::from_secs(60);

/// Whether a date of the schedule lies so little before `at` that its window is still open then: always, where it has none.
/// A timer that makes up for a date that was missed elapses long after it.
///
/// # Errors
/// Why it cannot be known.
pub async fn is_in_window(helper: &ProcessHelper, schedule: &Schedule, at: Timestamp) -> Result<bool, String> {
    if schedule.window.is_zero() {
        return Ok(true);
    }
    let back = schedule.window + schedule.randomized_delay + ACCURACY;
    let next = next(helper, &schedule.on_calendar, at - back).await?;
    Ok(next.is_some_and(|next| next <= at))
}

/// The first of the dates that is not before `earliest`, where there is one.
///
/// # Errors
/// Why it cannot be known.
pub async fn first(
    helper: &ProcessHelper,
    expressions: &[String],
    earliest: Timestamp,
) -> Result<Option<Timestamp>, String> {
    // systemd says what comes after a whole second.
    next(helper, expressions, earliest - Duration::from_secs(1)).await
}

/// The first expression that systemd does not take, as the error of a configuration.
pub async fn mistakes(helper: &ProcessHelper, settings: &Settings) -> Option<String> {
    let mut mistakes = Vec::new();
    for secret in settings.secrets.values() {
        for (key, expression) in secret.calendars() {
            if let Err(problem) = next(helper, std::slice::from_ref(expression), Timestamp::now()).await {
                mistakes.push(mistake(secret, key, expression, &problem));
            }
        }
    }
    (!mistakes.is_empty()).then(|| mistakes.join("\n"))
}

async fn next(helper: &ProcessHelper, expressions: &[String], after: Timestamp) -> Result<Option<Timestamp>, String> {
    let question = Question::Calendar { expressions: expressions.to_vec(), after: after.as_second() };
    match helper.ask_one(question).await.map_err(|error| error.to_string())? {
        Answer::Calendar { calendar: Calendar::Next(at) } => Ok(at.and_then(|at| Timestamp::from_second(at).ok())),
        Answer::Calendar { calendar: Calendar::Invalid(problem) } => Err(problem),
        _ => Err("the helper answered something else".to_owned()),
    }
}

fn mistake(secret: &SecretSettings, key: &str, expression: &str, problem: &str) -> String {
    let text = std::fs::read_to_string(&secret.file).unwrap_or_default();
    let from = text.find(key).unwrap_or_default();
    let at = text[from..].find(&format!("\"{expression}\"")).map(|at| from + at);
    let place = at.map_or_else(String::new, |at| {
        let before = &text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!(":{line}:{column}")
    });
    let file = secret.file.display();
    format!(
        "{file}{place}: error: `{key}`: systemd does not take {expression:?}: {problem} (see systemd.time(7), and try it: systemd-analyze calendar {expression:?})"
    )
}

//! `[proof]`: what must be seen of the consumer, and what its users may notice.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::probe_settings::{ErrorBudget, Watch};
use super::reader::{Reader, kind_of};
use super::report::{Mistake, Report};
use super::values::{Bounds, comm, duration, human, url};

const SECOND: Duration = Duration::from_secs(1);

/// The section, every key of which has a default.
pub(super) struct Proof {
    pub settle: Duration,
    pub allow_without: Vec<String>,
    pub aftercare: Duration,
    pub watch: Option<Watch>,
}

impl Default for Proof {
    fn default() -> Self {
        Self { settle: 2 * SECOND, allow_without: Vec::new(), aftercare: 30 * SECOND, watch: None }
    }
}

/// Reads the section.
pub(super) fn read(mut section: Reader<'_>, deadline: Duration, report: &mut Report<'_>) -> Proof {
    let bounds = Bounds { least: Duration::ZERO, most: 600 * SECOND };
    let settle = section.text("settle", "settle = \"2s\"", report, |text| duration(text, bounds));
    if let Some(settle) = settle.as_ref().filter(|settle| *settle.get_ref() >= deadline) {
        let message = format!("`settle` is not shorter than the rotation's `deadline` of {}", human(deadline));
        report.error(settle.span(), message, "make `settle` shorter, or `deadline` under [rotation] longer");
    }
    let allowed = section.texts("allow-without", "allow-without = [\"nginx\"]", report, comm);
    let allowed = allowed.map(|names| names.into_inner().into_iter().map(|name| name.into_inner()).collect());
    let aftercare = section.text("aftercare", "aftercare = \"30s\"", report, |text| duration(text, bounds));
    let watch = watch(&mut section, report);
    section.finish(report);
    let default = Proof::default();
    Proof {
        settle: settle.map_or(default.settle, |settle| settle.into_inner()),
        allow_without: allowed.unwrap_or_default(),
        aftercare: aftercare.map_or(default.aftercare, |aftercare| aftercare.into_inner()),
        watch,
    }
}

fn watch(section: &mut Reader<'_>, report: &mut Report<'_>) -> Option<Watch> {
    let url = section.text("watch", "watch = \"http://127.0.0.1:3000/healthz\"", report, url);
    let rate = section.take::<u32>("watch-rate", "watch-rate = 20", report);
    if let Some(rate) = rate.as_ref().filter(|rate| !(1..=200).contains(rate.get_ref())) {
        let message = format!("`watch-rate` is {}", rate.get_ref());
        report.error(rate.span(), message, "write how many requests a second, 1 to 200");
    }
    let error_budget = section.take_raw("error-budget").and_then(|(_, value)| match budget(value) {
        Ok(budget) => Some((budget, value.span())),
        Err(Mistake { message, advice }) => {
            report.error(value.span(), format!("`error-budget`: {message}"), advice);
            None
        }
    });
    if url.is_none() && !section.had("watch") {
        let rate = rate.as_ref().map(Spanned::span);
        for span in rate.into_iter().chain(error_budget.as_ref().map(|(_, span)| span.clone())) {
            report.error(span, "there is nothing to be watched", "add `watch = \"http://…\"`, or leave it out");
        }
    }
    Some(Watch {
        url: url?.into_inner(),
        rate: rate.map_or(20, |rate| rate.into_inner()),
        timeout: 2 * SECOND,
        error_budget: error_budget.map(|(budget, _)| budget),
    })
}

/// `3` requests, or `"0.5%"` of them.
fn budget(value: &Spanned<DeValue<'_>>) -> Result<ErrorBudget, Mistake> {
    let example = "write how many requests may fail, as `error-budget = 3`, or how many of a hundred, as `\"0.5%\"`";
    match value.get_ref() {
        DeValue::Integer(number) => {
            let digits = (number.radix() == 10).then(|| number.as_str().replace('_', ""));
            let number = digits.and_then(|digits| digits.parse().ok());
            number.map(ErrorBudget::Requests).ok_or_else(|| Mistake::new("this is no number of requests", example))
        }
        DeValue::String(text) => {
            let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
            let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
            let percent = percent.ok_or_else(|| Mistake::new(format!("{text:?} is no share"), example))?;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
            Ok(ErrorBudget::PerMille((percent * 10.0).round() as u16))
        }
        other => Err(Mistake::new(format!("this is {}", kind_of(other)), example)),
    }
}

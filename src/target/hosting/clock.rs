//! How long to wait after a refusal for too many requests: four platforms, three spellings, one parser.

use std::time::Duration;

use jiff::Timestamp;
use ureq::http::HeaderMap;

use crate::secret::random;
use crate::sys::http::{header, its_clock, retry_after, time_left};

/// A number above this is a time, one below it a length.
const EPOCH: i64 = 1_000_000_000;
/// A number above this is a time in milliseconds, as some gateways have it.
const EPOCH_MS: i64 = 1_000_000_000_000;
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(15 * 60);
/// Where nothing is said: so long at first, twice as long each time.
const FIRST: Duration = Duration::from_secs(5);
/// The buckets that count the requests of others, too, are a minute long.
const SKEW: Duration = Duration::from_secs(30);

/// How long an answer says to wait, before any skew. `reset` is what its body says, in seconds since the epoch; `tries`
/// is how often was waited already.
pub(super) fn wait(headers: &HeaderMap, reset: Option<i64>, tries: u32, now: Timestamp) -> Duration {
    let now = its_clock(headers).unwrap_or(now);
    let left = |number: i64| match number {
        EPOCH_MS.. => Timestamp::from_millisecond(number).map(|at| time_left(now, at)).unwrap_or(MOST),
        EPOCH.. => Timestamp::from_second(number).map(|at| time_left(now, at)).unwrap_or(MOST),
        _ => Duration::from_secs(u64::try_from(number).unwrap_or(0)),
    };
    let text = |name| header(headers, name);
    let stated = ["x-ratelimit-reset", "ratelimit-reset"].into_iter().find_map(text).and_then(whole);
    let wait = retry_after(headers, now).or_else(|| stated.or(reset).map(left));
    wait.unwrap_or_else(|| FIRST.saturating_mul(1 << tries.min(10))).clamp(LEAST, MOST)
}

/// The same, and a random part more: others were told the same time.
pub(super) fn with_skew(wait: Duration) -> Duration {
    let share = random::<1>().map_or(0.5, |[byte]| f64::from(byte) / 256.0);
    wait + (wait / 2).min(SKEW).mul_f64(share)
}

fn whole(text: &str) -> Option<i64> {
    text.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use ureq::http::HeaderValue;

    use super::*;

    fn waits(headers: &[(&'static str, &str)], reset: Option<i64>, tries: u32) -> u64 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        wait(&map, reset, tries, Timestamp::from_second(1_800_000_000).unwrap()).as_secs()
    }

    #[test]
    fn every_spelling_is_read() {
        assert_eq!(waits(&[("retry-after", "42"), ("x-ratelimit-reset", "1800000007")], None, 0), 42);
        assert_eq!(waits(&[("x-ratelimit-reset", "1800000030")], None, 0), 30);
        assert_eq!(waits(&[("ratelimit-reset", "17")], None, 0), 17);
        assert_eq!(waits(&[("ratelimit-reset", "1800000017")], None, 0), 17);
        assert_eq!(waits(&[], Some(1_800_000_012), 0), 12);
        let date = [("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")];
        assert_eq!(waits(&date, None, 0), 60);
    }

    #[test]
    fn what_is_absurd_or_not_said_is_bounded() {
        assert_eq!(waits(&[("x-ratelimit-reset", "1800000007000")], None, 0), 7);
        assert_eq!(waits(&[("retry-after", "0")], None, 0), 1);
        assert_eq!(waits(&[("retry-after", "86400")], None, 0), 900);
        assert_eq!(waits(&[("retry-after", "soon"), ("ratelimit-reset", "-3")], None, 0), 1);
        assert_eq!(waits(&[("x-ratelimit-reset", "9999999999999999")], None, 0), 900);
        assert_eq!([waits(&[], None, 0), waits(&[], None, 1), waits(&[], None, 40)], [5, 10, 900]);
        assert!(with_skew(Duration::from_secs(60)) < Duration::from_secs(90));
    }
}

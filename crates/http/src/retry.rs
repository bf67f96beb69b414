//! `Retry-After` (RFC 9110, section 10.2.3).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

/// Returns a wait in whole seconds, rounded up.
pub fn whole_seconds(wait: Duration) -> u64 {
    let begun = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(begun)
}

/// Sets `Retry-After` to a wait in whole seconds, rounded up, and at least one.
pub fn retry_after(headers: &mut HeaderMap, wait: Duration) {
    let seconds = whole_seconds(wait).max(1);
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
}

/// Sets `Retry-After` to one second, after which the obstacle is usually gone.
pub fn retry_soon(headers: &mut HeaderMap) {
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_whole_and_none_too_few() {
        let mut headers = HeaderMap::new();
        for (wait, seconds) in [
            (Duration::ZERO, "1"),
            (Duration::from_nanos(1), "1"),
            (Duration::from_secs(1), "1"),
            (Duration::from_nanos(1_000_000_001), "2"),
            (Duration::from_millis(59_001), "60"),
            (Duration::MAX, "18446744073709551615"),
        ] {
            retry_after(&mut headers, wait);
            assert_eq!(headers[header::RETRY_AFTER], seconds, "{wait:?}");
        }
        assert_eq!(whole_seconds(Duration::ZERO), 0);
        assert_eq!(whole_seconds(Duration::from_millis(59_001)), 60);
        retry_soon(&mut headers);
        assert_eq!(headers[header::RETRY_AFTER], "1");
        assert_eq!(headers.len(), 1);
    }
}

//! Where somebody is led back to, once they have signed in or confirmed that it is them: one of few pages, whatever is asked
//! for.

/// Where everybody is led who is led nowhere else.
pub(super) const OVERVIEW: &str = "/account";

/// The other pages that somebody is led back to: those from which something is done that may have to be confirmed, and what
/// an address in a mail may name.
const PAGES: [&str; 5] = [
    "/account/activity",
    "/account/devices",
    "/account/password",
    "/account/phone",
    "/account/recovery-codes",
];

/// The page that a path of the site belongs to: the overview, if it is any other text.
pub(super) fn page_of(path: &str) -> &'static str {
    let belongs = |page: &&str| {
        let rest = path.strip_prefix(page);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    PAGES.into_iter().find(belongs).unwrap_or(OVERVIEW)
}

/// Where a step of signing in goes on to this page.
pub(super) fn by_way_of(step: &str, page: &'static str) -> String {
    format!("{step}?to={page}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        for (path, page) in [
            ("/account/devices/7/revoke", "/account/devices"),
            ("/account/activity", "/account/activity"),
            ("/account/phone", "/account/phone"),
            ("/account/phone/remove", "/account/phone"),
            ("/account/sessions/end", "/account"),
            ("/account/phones", "/account"),
            ("/account/sign-out", "/account"),
            ("//evil.example", "/account"),
            ("https://evil.example/account/phone", "/account"),
            ("", "/account"),
        ] {
            assert_eq!(page_of(path), page, "{path}");
        }
    }
}

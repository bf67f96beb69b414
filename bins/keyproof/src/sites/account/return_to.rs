//! Where somebody returns to once they have signed in or confirmed their identity: one of a few pages, whatever the
//! request names.

/// The default page.
pub(super) const OVERVIEW: &str = "/account";

/// The other pages: those with actions that may need a confirmation, and those that an address in an email may name.
const PAGES: [&str; 5] = [
    "/account/activity",
    "/account/devices",
    "/account/password",
    "/account/phone",
    "/account/recovery-codes",
];

/// Returns the page that a path of the site belongs to; the overview for any other text.
pub(super) fn page_of(path: &str) -> &'static str {
    let belongs = |page: &&str| {
        let rest = path.strip_prefix(page);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    PAGES.into_iter().find(belongs).unwrap_or(OVERVIEW)
}

/// Returns the address of a sign-in step that continues to this page.
pub(super) fn with_return_to(step: &str, page: &'static str) -> String {
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

//! Checks that the contracts' own words are only in their dialects: use cases return types instead.

use std::{ffi::OsStr, mem, path::Path};

use crate::{failure::Failure, sources};

/// The sources of the use cases.
const USE_CASES: &str = "crates/service/src";

/// Member names and starts of texts that only one contract has.
const WORDS: &[&str] = &[
    // GNU Taler
    "otp_algorithm",
    "otp_ctr",
    "otp_device_description",
    "otp_device_id",
    "otp_key",
    "faketime",
    // Azure DPS
    "hasPrivateKey",
    "httpStatusCode",
    "isVerified",
    "verificationCode",
    // F5 XC
    "ak_name",
    "ak_cert_chain",
    "ak_pub_key",
    "ak_public",
    "ak_template",
    "annotations",
    "api_key",
    "category_ref",
    "credential_bundle",
    "csr",
    "ek_cert",
    "ek_chain",
    "ek_pub_key",
    "ek_root_certificates",
    "event_log",
    "encrypted_ak_cert",
    "label_filter",
    "metadata",
    "pcr_policy",
    "pcr_selection",
    "pcr_values",
    "revoke_reason",
    "revoked_timestamp",
    "scheme_hash",
    "spec",
    "tpm_allow_list",
    "tpm_manager_ref",
    // emnify
    "auth_token",
    "error_token",
    "expiry_date",
    "mfa_token",
    "new_password",
    "old_password",
    "per_page",
    "type 6",
    "type 7",
    "type 14",
];

/// Checks that no use case contains a contract's word.
pub(crate) fn check() -> Result<(), Failure> {
    for (path, text) in sources::below(Path::new(USE_CASES))? {
        let is_tests = |part: &OsStr| part == "tests" || part == "tests.rs" || part == "testing.rs";
        if path.iter().any(is_tests) {
            continue;
        }
        if let Some((line, word)) = words_of(&text).into_iter().next() {
            let problem = format!("line {line} contains {word:?}, which belongs to the dialect");
            return Err(Failure::wrong(path, problem));
        }
    }
    println!("use cases: none of {} words of contracts", WORDS.len());
    Ok(())
}

/// Returns the contracts' words in the string literals of a source, with their lines, up to its tests.
fn words_of(source: &str) -> Vec<(usize, &'static str)> {
    let mut modules = source.match_indices("#[cfg(test)]\nmod ");
    let is_body = |at: usize| {
        let module = source.get(at..).and_then(|rest| rest.lines().nth(1));
        module.is_some_and(|line| line.ends_with('{'))
    };
    let tests = modules.find_map(|(at, _)| is_body(at).then_some(at));
    let code: Vec<_> = source
        .get(..tests.unwrap_or(source.len()))
        .unwrap_or(source)
        .lines()
        .map(|line| {
            if line.trim_start().starts_with("//") {
                ""
            } else {
                line
            }
        })
        .collect();
    let code = code.join("\n").replace("\\\"", "").replace("'\"'", "");
    let (mut words, mut line) = (Vec::new(), 1);
    for (number, part) in code.split('"').enumerate() {
        if number % 2 == 1 {
            words.extend(word_in(part).map(|word| (line, word)));
        }
        line += part.matches('\n').count();
    }
    words
}

/// Returns a contract's word in a text, as a whole word.
fn word_in(text: &str) -> Option<&'static str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = WORDS.iter().copied();
    words.find(|word| {
        let mut around = text.split(word);
        let mut before = around.next().unwrap_or_default();
        around.any(|after| {
            let before = mem::replace(&mut before, after);
            !before.ends_with(is_part) && !after.starts_with(is_part)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_in_texts_alone_and_whole() {
        let source = r#"
//! "isVerified"
    is_verified: bool, // a member called isVerified
    let key = "tpm_api_key";
    #[error("ek_cert: {0}")]
#[cfg(test)]
mod elsewhere;
    let quote = '"'; let text = "\"";
    let detail = "MFA key \
        of type 14";
#[cfg(test)]
mod tests {
    let text = "isVerified";
"#;
        assert_eq!(words_of(source), [(5, "ek_cert"), (9, "type 14")]);
    }
}

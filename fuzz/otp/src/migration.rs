//! Exports of authenticator apps.

use keyproof_otp::{
    OtpError,
    migration::{Migration, join},
};

/// Exports, as a URI and as the message in it: what is read can be written, and reads back the same. An export that has accounts
/// can be written as new QR codes.
pub fn migration(data: &[u8]) {
    let uri = str::from_utf8(data).ok().map(Migration::parse);
    for code in uri.into_iter().chain([Migration::from_message(data)]) {
        let code = match code {
            Ok(code) => code,
            Err(
                OtpError::MigrationBase64 { at }
                | OtpError::MigrationDuplicate { at }
                | OtpError::MigrationEncoding { at }
                | OtpError::MigrationSecret { at }
                | OtpError::MigrationValue { at }
                | OtpError::UriEscape { at },
            ) => {
                assert!(at <= data.len());
                continue;
            }
            Err(_) => continue,
        };
        let part = code.part();
        assert!(part.index < part.size);
        let written = code.to_string();
        assert_eq!(written.parse().as_ref(), Ok(&code), "{written}");
        // One part of a batch alone, or the same part twice, is not the batch.
        if part.size > 1 {
            assert!(join([code.clone()]).is_err());
            assert!(join([code.clone(), code.clone()]).is_err());
        }
        let accounts = code.accounts();
        assert!(
            accounts
                .iter()
                .all(|account| !account.secret().as_bytes().is_empty())
        );
        match Migration::batch(accounts, part.id) {
            Ok(codes) if codes.is_empty() => assert!(accounts.is_empty()),
            Ok(codes) => {
                assert!(
                    codes
                        .iter()
                        .all(|code| code.accounts().len() <= Migration::ACCOUNTS_PER_CODE)
                );
                assert_eq!(join(codes).as_deref(), Ok(accounts));
            }
            Err(error) => assert_eq!(error, OtpError::MigrationTooLong),
        }
    }
}

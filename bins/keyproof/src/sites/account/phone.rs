//! The phone, and the recovery codes in case it is lost.

use std::convert::Infallible;

use data_encoding::BASE64;
use http::StatusCode;
use keyproof_service::{
    Action,
    accounts::{
        ActivateKeyError, EnrolKeyError, EnrolledKey, RecoveryCodesError, RecoveryCodesRequest,
        RemoveKeyError,
    },
};
use zeroize::Zeroizing;

use super::{
    Frame, HandlerResult, Signed, Visit,
    pages::{MadeCodes, Phone, Recovery, Scan, State},
    password::{Told, password_refused},
    render,
};
use crate::{
    qr,
    sites::{
        cookies::Cookie,
        page::{limited, see_other},
        refusal::Refusal,
    },
};

const HERE: &str = "/account/phone";
const RECOVERY: &str = "/account/recovery-codes";

impl Visit<Signed> {
    pub(super) async fn phone(self) -> HandlerResult {
        let frame = self.frame(HERE);
        self.phone_page(&frame, StatusCode::OK).await
    }

    async fn phone_page(&self, frame: &Frame, status: StatusCode) -> HandlerResult {
        let overview = self.accounts().overview(self.who.browser.session()).await?;
        let page = Phone {
            frame,
            state: State::of(overview.user.key.as_ref()),
            may_remove: overview.may_decide && self.who.browser.is_fresh(),
        };
        render(&page, status)
    }

    pub(super) async fn enrol(self) -> HandlerResult {
        let person = self.person(Action::MfaKeyAdd).await?;
        let password = self.secret("password");
        let accounts = self.accounts();
        let enrolled = accounts.enrol_key::<Infallible>(&person, Ok(password));
        let why = match enrolled.await {
            Ok(enrolled) => return self.scan_page(&enrolled),
            Err(failure) => failure.refusal()?,
        };
        match why {
            EnrolKeyError::AlreadyActive => Ok(see_other(HERE)),
            EnrolKeyError::Body(never) => match never {},
            EnrolKeyError::SessionRefused(why) => Err(why.into()),
            EnrolKeyError::PasswordRefused(why) => {
                self.phone_refused(password_refused(why, "password", self.t())?)
                    .await
            }
        }
    }

    fn scan_page(&self, enrolled: &EnrolledKey) -> HandlerResult {
        // A user's name may be too long for the URI to fit into a QR code. The key is then typed.
        let drawing = qr::path(&enrolled.uri).ok();
        let page = Scan {
            frame: &self.frame(HERE),
            qr: drawing.as_ref(),
            secret: &enrolled.secret,
            uri: &enrolled.uri,
            key: enrolled.key.id,
        };
        render(&page, StatusCode::OK)
    }

    pub(super) async fn activate(self) -> HandlerResult {
        let key = self.typed("key").parse().map_err(|_| Refusal::NotFound)?;
        let person = self.person(Action::MfaKeyActivate).await?;
        let (accounts, code) = (self.accounts(), Ok(self.code()));
        let activated = accounts.activate_key::<Infallible>(&person, key, code);
        let why = match activated.await {
            Ok(()) => return self.activated().await,
            Err(failure) => failure.refusal()?,
        };
        let told = match why {
            // This session has activated it, since that ends all others, and its token may not have been replaced.
            ActivateKeyError::AlreadyActive => return self.activated().await,
            ActivateKeyError::Body(never) => match never {},
            ActivateKeyError::SessionRefused(why) => return Err(why.into()),
            ActivateKeyError::Locked { wait } => ("", self.t().locked(wait), Some(wait)),
            ActivateKeyError::Unknown => ("", self.t().key_replaced.to_owned(), None),
            ActivateKeyError::WrongCode => ("code", self.t().activate_wrong.to_owned(), None),
        };
        self.phone_refused(told).await
    }

    /// Shows the phone's page with an error.
    async fn phone_refused(&self, (field, text, wait): Told) -> HandlerResult {
        let frame = self.frame_with(HERE, field, text);
        let page = self.phone_page(&frame, StatusCode::UNPROCESSABLE_ENTITY);
        Ok(limited(page.await?, wait))
    }

    /// Replaces the session's token: one from before the second factor no longer opens the session.
    async fn activated(&self) -> HandlerResult {
        let renewed = self.accounts().renew_user_session(&self.who.cookie);
        let token = renewed.await?;
        let mut response = see_other("/account/recovery-codes?activated");
        self.keep(&mut response, Cookie::Account, &token, None);
        Ok(response)
    }

    pub(super) async fn remove_phone(self) -> HandlerResult {
        let key = self.typed("key").parse().map_err(|_| Refusal::NotFound)?;
        if !self.who.browser.is_fresh() {
            return Err(Refusal::ConfirmFirst(None));
        }
        let manager = self.manager(Action::MfaKeyRemove).await?;
        let why = match self.accounts().remove_key(&manager, key).await {
            Ok(()) => return Ok(see_other("/account?removed")),
            Err(failure) => failure.refusal()?,
        };
        match why {
            RemoveKeyError::SessionRefused(why) => Err(why.into()),
            RemoveKeyError::Unknown => Ok(see_other(HERE)),
            RemoveKeyError::UserUnknown => Err(Refusal::SignInFirst(None)),
        }
    }

    pub(super) async fn recovery_codes(self) -> HandlerResult {
        let frame = self.frame(RECOVERY);
        self.recovery_page(&frame, StatusCode::OK).await
    }

    async fn recovery_page(&self, frame: &Frame, status: StatusCode) -> HandlerResult {
        let overview = self.accounts().overview(self.who.browser.session()).await?;
        let t = self.t();
        let page = Recovery {
            frame,
            is_active: State::of(overview.user.key.as_ref()).is_active(),
            may_decide: overview.may_decide,
            codes_left: t.codes_left(overview.recovery_codes),
            may_leave_code_out: overview.may_leave_code_out,
        };
        render(&page, status)
    }

    pub(super) async fn make_recovery_codes(self) -> HandlerResult {
        let person = self.person(Action::RecoveryCodesMake).await?;
        let code = self.code();
        let request = RecoveryCodesRequest {
            password: self.secret("password"),
            code: (!code.is_empty()).then_some(code),
        };
        let accounts = self.accounts();
        let made = accounts.make_recovery_codes::<Infallible>(&person, Ok(request));
        let t = self.t();
        let why = match made.await {
            Ok(codes) => return self.made_codes(&codes),
            Err(failure) => failure.refusal()?,
        };
        let (field, text, wait) = match why {
            RecoveryCodesError::Body(never) => match never {},
            RecoveryCodesError::CodeNeeded => ("code", t.code_needed.to_owned(), None),
            RecoveryCodesError::WrongCode => ("code", t.code_wrong.to_owned(), None),
            RecoveryCodesError::NoActiveKey => return Ok(see_other(RECOVERY)),
            RecoveryCodesError::SessionRefused(why) => return Err(why.into()),
            RecoveryCodesError::PasswordRefused(why) => password_refused(why, "password", t)?,
        };
        let frame = self.frame_with(RECOVERY, field, text);
        let page = self.recovery_page(&frame, StatusCode::UNPROCESSABLE_ENTITY);
        Ok(limited(page.await?, wait))
    }

    fn made_codes(&self, codes: &[Zeroizing<String>]) -> HandlerResult {
        let t = self.t();
        let title = t.recovery_title.replace('\u{ad}', "");
        let user = self.who.browser.session().name();
        let mut text = Zeroizing::new(format!("{title}: {user}\n{}\n\n", t.each_once));
        for code in codes {
            text.push_str(code);
            text.push('\n');
        }
        let file = BASE64.encode(text.as_bytes());
        let file = Zeroizing::new(format!("data:text/plain;charset=utf-8;base64,{file}"));
        let page = MadeCodes {
            frame: &self.frame(RECOVERY),
            codes: codes.iter().map(|code| code.as_str()).collect(),
            file: &file,
        };
        render(&page, StatusCode::OK)
    }
}

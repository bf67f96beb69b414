//! Forms whose end arrives when their session is already over: somebody with a stolen cookie may have sent the beginning before.

use crate::{
    emnify::{
        dialect::ADA,
        site::{Site, command_line},
    },
    sites::browser::{ANOTHER_PASSWORD, Browser},
};

/// Signs out in another window of the same browser.
async fn sign_out(mut window: Browser<'_>, path: &str) {
    let out = window.post(path, &[]).await;
    let to = out.is(303).location();
    assert!(to.ends_with("/sign-in?out"), "{to}");
}

impl<'a> Browser<'a> {
    /// Another window with the same cookies and page.
    fn window(&self) -> Self {
        let mut window = Browser::new(self.site);
        window.cookies = self.cookies.clone();
        window.page = self.page.clone();
        window
    }
}

#[tokio::test]
async fn nothing_is_done_at_account_in_a_session_that_was_ended_meanwhile() {
    let site = Site::start().await;
    let mut ada = Browser::of_ada(&site).await;
    let phone = ada.set_up().await;
    ada.get("/account/phone").await.is(200);
    let key = ada.hidden("key").unwrap();
    let out = sign_out(ada.window(), "/account/sign-out");
    let fields = [("key", &*key)];
    let late = ada.post_late("/account/phone/remove", &fields, out).await;
    assert_eq!(
        late.is(303).location(),
        "/account/sign-in?over&to=/account/phone"
    );
    // The phone is still required.
    let mut again = Browser::new(&site);
    again.sign_in_with(&phone, false).await.is(200);
    again.next_step();
    again.get("/account/password").await.is(200);
    let out = sign_out(again.window(), "/account/sign-out");
    let late = again
        .post_late("/account/password", &ANOTHER_PASSWORD, out)
        .await;
    assert_eq!(
        late.is(303).location(),
        "/account/sign-in?over&to=/account/password"
    );
    again.sign_in_with(&phone, false).await.is(200);
}

#[tokio::test]
async fn nothing_is_done_at_console_in_a_session_that_was_ended_meanwhile() {
    let site = Site::start().await;
    let (mut ops, token) = Browser::of_operator(&site, &["users", "instances"]).await;
    let suspended = async || {
        let all = site.console.accounts.all_users(None).await.unwrap();
        let ada = all.into_iter().find(|user| user.name == ADA).unwrap();
        let path = format!("/console/users/{}/{}", ada.organisation, ada.id);
        (ada.status, path)
    };
    let (before, path) = suspended().await;
    ops.get(&path).await.is(200);
    let suspend = format!("{path}/suspend");
    let out = sign_out(ops.window(), "/console/sign-out");
    let late = ops.post_late(&suspend, &[], out).await;
    assert_eq!(late.is(303).location(), "/console/sign-in?over");
    assert_eq!(suspended().await.0, before);

    // The same for a token that was revoked.
    ops.paste(&token).await.is(200);
    ops.get(&path).await.is(200);
    let revoke = async {
        let access = &site.console.access;
        for listed in access.list().await.unwrap() {
            access.revoke(&listed.id, &command_line()).await.unwrap();
        }
    };
    let late = ops.post_late(&suspend, &[], revoke).await;
    assert_eq!(late.is(303).location(), "/console/sign-in?over");
    assert_eq!(suspended().await.0, before);
}

//! An operator walks through `/console`: a user who is locked and has lost their phone, and what the trail has of it.

use std::time::Duration;

use super::{ADA, Visitor};

impl Visitor {
    /// Signs in to the console with this token, helps, and signs out everywhere.
    pub(super) fn operate(&self, token: &str) {
        self.open("/console");
        self.looks("sign-in");
        self.fill_in("#token", "keyproof_wrong");
        self.is_refused();
        self.looks("sign-in-refused");
        self.fill_in("#token", token);
        self.looks("start");
        self.help_a_user(token);
        self.read_the_trail();
        self.open("/console");
        self.browser
            .follow("form[action='/console/sign-out/everywhere'] button");
        assert!(self.seen("main").contains("Every session of your token"));
    }

    fn help_a_user(&self, token: &str) {
        // Ada has a phone, and somebody tries her password.
        self.open("/account");
        self.sign_in();
        let _ = self.set_up_phone();
        self.browser.follow("header form button");
        for _ in 0..3 {
            self.open("/account/sign-in");
            self.browser.type_in("#name", ADA);
            self.fill_in("#password", "wrong horse");
            // It is judged before the next one.
            assert_ne!(self.seen("main .error, main .alert"), "");
        }
        self.is_refused();
        self.open("/console/users");
        self.looks("users");
        self.browser.follow("main td a");
        assert!(self.seen("main").contains("locked after wrong tries"));
        self.looks("user");
        self.browser.follow("form[action$='/unlock'] button");
        assert!(self.seen("main").contains("The locks are lifted."));
        self.browser.follow("form[action$='/end-sessions'] button");
        assert!(self.seen("main").contains("All sessions"));
        self.browser.follow("form[action$='/suspend'] button");
        assert!(self.seen("main").contains("suspended"));
        self.browser.follow("form[action$='/activate'] button");
        assert!(self.seen("main").contains("The user may sign in again."));

        // The phone is lost, and five minutes are over: the token once more.
        self.clock.advance(Duration::from_secs(300));
        self.browser.follow("main dd a");
        self.browser.follow("main td a");
        self.browser.follow("main a.danger");
        self.looks("confirm");
        self.fill_in("#token", token);
        self.browser.follow("form[action$='/remove-key'] button");
        assert!(self.seen("main").contains("key is removed."));

        self.open("/console/users/add");
        self.browser.type_in("#organisation", "Example Org");
        self.browser.type_in("#name", "bob@example.org");
        self.fill_in("#password", "short");
        self.is_refused();
        self.looks("user-add");
        self.fill_in("#password", "battery staple");
        assert!(self.seen("main").contains("bob@example.org"));
    }

    fn read_the_trail(&self) {
        self.open("/console/audit");
        self.looks("audit");
        self.browser.click("summary");
        self.fill_in("#who", &format!("user:{ADA}"));
        assert!(self.seen("#events").contains("mfa_key.activate"));
        assert!(!self.seen("#events").contains("user.suspend"));
        // Following is more convenient with a script, and needs none.
        let follows = self.browser.is_shown("button[data-follow]");
        assert_eq!(follows, self.axe.is_some());
        if follows {
            self.browser.click("button[data-follow]");
            let pressed = "return document.querySelector('button[data-follow]').ariaPressed";
            assert_eq!(self.browser.run(pressed), "true");
            self.looks("audit-followed");
        }
    }

    /// A page says on purpose why something is refused, of which the browser tells in its log.
    fn is_refused(&self) {
        assert_ne!(self.browser.log("browser"), Vec::<serde_json::Value>::new());
    }

    fn seen(&self, css: &str) -> String {
        self.browser.text(css)
    }
}

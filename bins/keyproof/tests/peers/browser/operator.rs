//! An operator uses `/console`: for a user who is locked and has lost their phone, and for the audit trail of it.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use super::{ADA, Visitor};

/// The time limit for new events to show up: the page polls every five seconds.
const PATIENCE: Duration = Duration::from_secs(60);

impl Visitor {
    /// Signs in to the console with this token, helps the user, and signs out everywhere.
    pub(super) fn operate(&self, token: &str) {
        self.open("/console");
        self.looks("sign-in");
        self.fill_in("#token", "keyproof_wrong");
        self.sees("Paste the whole of it");
        self.looks("sign-in-refused");
        self.fill_in("#token", token);
        self.looks("start");
        self.clicks_twice();
        self.skips_to_the_content();
        self.open("/console/nowhere");
        self.looks("not-found");
        self.help_a_user(token);
        self.read_the_trail();
        self.open("/console");
        self.browser
            .follow("form[action='/console/sign-out/everywhere'] button");
        self.sees("Every session of your token");
    }

    /// A second click sends nothing, which would throw away the answer to the first.
    fn clicks_twice(&self) {
        if self.axe.is_none() {
            return;
        }
        let clicks = "let sent = 0; const form = document.querySelector('header form'); \
             addEventListener('submit', event => { sent += !event.defaultPrevented; event.preventDefault(); }); \
             form.requestSubmit(); form.requestSubmit(); return sent";
        assert_eq!(self.browser.run(clicks), 1);
    }

    fn help_a_user(&self, token: &str) {
        // Ada has a phone, and somebody tries her password.
        self.open("/account");
        self.sign_in();
        let _ = self.set_up_phone();
        self.browser.follow("header form button");
        for _ in 0..3 {
            self.fail_to_sign_in();
        }
        self.open("/console/users");
        self.looks("users");
        self.browser.follow("main tbody a");
        self.sees("locked after wrong tries");
        self.looks("user");
        self.browser.follow("form[action$='/unlock'] button");
        self.sees("The locks are lifted.");
        self.browser.follow("form[action$='/end-sessions'] button");
        self.sees("All sessions");
        self.browser.follow("form[action$='/suspend'] button");
        self.sees("suspended");
        self.browser.follow("form[action$='/activate'] button");
        self.sees("The user may sign in again.");

        // The phone is lost, and five minutes are over: the token is needed again.
        self.clock.advance(Duration::from_secs(300));
        self.browser.follow("main dd a");
        self.browser.follow("main tbody a");
        self.browser.follow("main a.danger");
        self.looks("confirm");
        self.fill_in("#token", token);
        self.browser.follow("form[action$='/remove-key'] button");
        self.sees("key is removed.");

        // Again before a user is added, in the form itself. A form that was opened before is shown once more.
        self.open("/console/users/add");
        self.browser.type_in("#organisation", "Example Org");
        self.browser.type_in("#name", "bob@example.org");
        self.clock.advance(Duration::from_secs(300));
        self.fill_in("#password", "battery staple");
        self.sees("Nothing is done yet.");
        self.browser.type_in("#password", "short");
        self.fill_in("#confirmation", token);
        self.looks("user-add");
        self.fill_in("#password", "battery staple");
        self.sees("bob@example.org");

        // Once there is a second organisation, one is selected first.
        self.open("/console/users/add");
        self.browser.type_in("#organisation", "Field Team");
        self.browser.type_in("#name", "cy@example.org");
        self.fill_in("#password", "battery staple");
        self.sees("The user is added.");
        self.open("/console/users");
        self.sees("Field Team");
        self.looks("organisations");
        self.browser.follow("main li a");
        self.sees("bob@example.org");
    }

    fn read_the_trail(&self) {
        self.open("/console/audit");
        self.looks("audit");
        // Each detail is in words, and not in Rust's debug format.
        let events = self.seen("#events");
        assert!(events.contains("user.authenticate"), "{events}");
        assert!(!events.contains(" { "), "{events}");
        self.browser.click("summary");
        self.use_a_phone();
        self.fill_in("#who", &format!("user:{ADA}"));
        self.shows_at_once("#found");
        // The same button requests the page again.
        self.browser.follow("form.filter button");
        self.browser.follow("form.filter button");
        self.browser.emulate(1000, 1, "light");
        assert!(self.seen("#events").contains("mfa_key.activate"));
        assert!(!self.seen("#events").contains("user.suspend"));
        // Following is more convenient with a script, but needs none.
        let follows = self.browser.is_shown("button[data-follow]");
        assert_eq!(follows, self.axe.is_some());
        if follows {
            self.browser.click("button[data-follow]");
            let pressed = "return document.querySelector('button[data-follow]').ariaPressed";
            assert_eq!(self.browser.run(pressed), "true");
            self.looks("audit-followed");
            self.follow_the_trail();
        }
    }

    /// Changes from elsewhere show up by themselves.
    fn follow_the_trail(&self) {
        self.open("/console/audit");
        self.browser.click("button[data-follow]");
        self.clock.advance(Duration::from_secs(1));
        // As in another window: a wrong token is submitted.
        let shown = "const done = arguments[arguments.length - 1]; \
             const csrf = document.querySelector('[name=csrf]').value; \
             const body = new URLSearchParams({ csrf, token: 'x', to: '' }); \
             fetch('/console/confirm', { method: 'POST', body }).then(answer => done(answer.status))";
        assert_eq!(self.browser.run_async(shown), 422);
        let since = Instant::now();
        while !self.seen("#events-status").contains("New events came at") {
            assert!(since.elapsed() < PATIENCE, "nothing has shown up");
            sleep(Duration::from_millis(200));
        }
        let latest = self.seen("#events tbody tr");
        assert!(latest.contains("operator_session.confirm"), "{latest}");
        assert!(latest.contains("refused"), "{latest}");

        // Whoever is in the list with the keyboard keeps their place, and sees the events once they leave it.
        let says = |text: &str| {
            let status = "return document.getElementById('events-status').textContent";
            self.browser
                .wait_until(&format!("{status}.startsWith('{text}')"));
        };
        self.browser
            .run("document.querySelector('#events a').focus()");
        self.clock.advance(Duration::from_secs(1));
        assert_eq!(self.browser.run_async(shown), 422);
        says("There are new events");
        let is_kept = "return document.activeElement.matches('#events a')";
        assert_eq!(self.browser.run(is_kept), true);
        self.browser.run("document.activeElement.blur()");
        says("New events came at");

        // A server that is slow is not asked again before it has answered.
        self.open("/console/audit");
        let slow = "window.asked = 0; \
             window.fetch = () => { window.asked += 1; return new Promise(() => {}); }; \
             document.querySelector('button[data-follow]').dataset.every = 0.02";
        self.browser.run(slow);
        self.browser.click("button[data-follow]");
        sleep(Duration::from_millis(500));
        assert_eq!(self.browser.run("return window.asked"), 1);

        // A form whose answer is a file is sent again from the same page, also if the clock was set back meanwhile.
        let sent = "const done = arguments[arguments.length - 1]; \
             const form = document.querySelector('form'), now = Date.now() - 3600000; \
             const submit = () => form.dispatchEvent(new Event('submit', { bubbles: true, cancelable: true })); \
             const sent = [submit(), submit()]; \
             Date.now = () => now; \
             setTimeout(() => done([...sent, submit()].join()), 2100)";
        assert_eq!(self.browser.run_async(sent), "true,false,true");
    }
}

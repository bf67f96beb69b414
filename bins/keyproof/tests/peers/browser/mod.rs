//! Chromium as a peer: a user goes through `/account`, from a password alone to a lost phone, with `oathtool` as the phone, and an
//! operator through `/console`; once with scripts, where axe-core checks every page, and once without. If `KEYPROOF_PICTURES` is a
//! folder, a picture of every page is written there.

mod driver;
mod guest;
mod keeper;
mod operator;

use std::{
    fs,
    ops::Deref,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keyproof::{
    config::{Config, Sources},
    server::Server,
};
use keyproof_auth::operator::OperatorScopes;
use keyproof_service::{
    Clock, CommandLine, ManualClock, Service,
    access::NewOperatorToken,
    accounts::{NewUser, Role},
};
use keyproof_store::{SystemEntropy, Timestamp};
use zeroize::Zeroizing;

use guest::Guest;

const ADA: &str = "ada@example.org";
const PASSWORD: &str = "correct horse";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_walks_through_the_account_site() {
    walk(true, "account", |visitor, _| visitor.lose_a_phone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_without_scripts_walks_through_the_account_site() {
    walk(false, "account", |visitor, _| visitor.lose_a_phone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_walks_through_the_console() {
    walk(true, "console", Visitor::operate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_without_scripts_walks_through_the_console() {
    walk(false, "console", Visitor::operate).await;
}

/// Runs a test on a site, with an operator's token that has all permissions.
async fn walk(runs_scripts: bool, site: &'static str, walk: fn(&Visitor, &str)) {
    let config = Config::load(&Sources {
        flags: vec![
            ("http.listen", "127.0.0.1:0".into()),
            ("store.url", "memory:".into()),
        ],
        ..Sources::default()
    });
    let config = Arc::new(config.unwrap());
    let entropy = Arc::new(SystemEntropy::new());
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_010)));
    let store = config.store.open(entropy.clone(), clock.now());
    let store = store.await.unwrap();
    // Started as in production, with the dialects' settings. The commands use the same store.
    let server = Server::start(config.clone(), store.clone(), clock.clone(), entropy);
    let server = server.await.unwrap();
    let service = Service::start(store, clock.clone(), config.hashing)
        .await
        .unwrap();
    let new = NewUser {
        name: ADA.to_owned(),
        organisation: "Example Org".to_owned(),
        role: Role::User,
    };
    let command = CommandLine::of("test".to_owned());
    let password = Zeroizing::new(PASSWORD.to_owned());
    service
        .accounts
        .add_user(&new, password, &command)
        .await
        .unwrap();
    let new = NewOperatorToken {
        subject: "ops".to_owned(),
        scopes: OperatorScopes::parse(["admin"]).unwrap(),
        lifetime: None,
    };
    let token = service.access.create(new, &command).await.unwrap();
    let port = server.address().port();
    let walked = tokio::task::spawn_blocking(move || {
        let visitor = Visitor {
            guest: Guest::new(
                site,
                format!("http://localhost:{port}"),
                runs_scripts,
                Some(clock.clone()),
            ),
            clock,
        };
        walk(&visitor, &token.text);
        visitor.browser_asked_nobody_else();
    });
    walked.await.unwrap();
}

struct Visitor {
    guest: Guest,
    clock: Arc<ManualClock>,
}

impl Deref for Visitor {
    type Target = Guest;

    fn deref(&self) -> &Guest {
        &self.guest
    }
}

impl Visitor {
    fn lose_a_phone(&self) {
        self.open("/");
        self.looks("front");
        self.open("/account");
        self.looks("sign-in");
        self.skips_to_the_content();
        self.open("/account/nowhere");
        self.looks("not-found");
        self.open("/account/sign-in");
        self.sign_in();
        self.looks("overview-without-phone");

        self.open("/account/phone");
        self.looks("phone");
        self.fill_in("#password", PASSWORD);
        // Copying is more convenient with a script, but needs none.
        assert_eq!(
            self.browser.is_shown("button[data-copy]"),
            self.axe.is_some()
        );
        let secret = self.browser.text("#secret");
        self.looks("scan");
        // The page was left before the first code was typed, and the phone still has the key.
        self.open("/account/phone");
        self.sees("If your phone has the key, type the code");
        self.looks("phone-pending");
        self.fill_in("#code", &self.code(&secret));
        self.looks("recovery-codes");
        self.fill_in("#password", PASSWORD);
        let codes = self.browser.texts("#codes li");
        assert_eq!(codes.len(), 10);
        self.looks("recovery-codes-made");
        self.is_printed_with("#codes");

        self.browser.follow("header form button");
        self.clock.advance(Duration::from_secs(30));
        self.sign_in();
        self.looks("code");
        self.browser.click("#trust");
        self.fill_in("#code", &self.code(&secret));
        self.looks("overview");
        self.open("/account/phone");
        self.looks("phone-in-use");
        for page in ["devices", "password", "activity", "confirm", "help"] {
            self.open(&format!("/account/{page}"));
            self.looks(page);
        }
        self.open("/account/devices");
        self.is_printed_with("tbody th");
        self.open("/account?lang=de");
        self.sees("Zweiter Faktor");
        self.looks("overview-in-german");
        // The heading with the longest word fits on a phone.
        self.open("/account/recovery-codes");
        self.use_a_phone();
        self.holds("return document.documentElement.scrollWidth <= 320");
        self.open("/account?lang=en");
        self.browser
            .follow("form[action='/account/sessions/end'] button");
        self.sees("All other sessions are ended.");

        // The phone is lost, and five minutes are over: the password, and a recovery code.
        self.clock.advance(Duration::from_secs(300));
        self.open("/account/phone");
        self.browser.follow("main a.danger");
        self.fill_in("#password", PASSWORD);
        self.fill_in("#code", codes[4].trim());
        self.browser
            .follow("form[action='/account/phone/remove'] button");
        self.sees("The phone is removed.");
        self.browser.follow("header form button");
        self.sees("You are signed out.");
        self.is_locked_out();
    }

    /// Types a wrong password until the account is locked.
    fn is_locked_out(&self) {
        self.fail_to_sign_in();
        self.looks("sign-in-refused");
        self.fail_to_sign_in();
        self.fail_to_sign_in();
        self.sees("try again in 5 minutes");
        self.looks("sign-in-locked");
    }

    /// Types a wrong password, and waits for the answer.
    fn fail_to_sign_in(&self) {
        self.open("/account/sign-in");
        self.browser.type_in("#name", ADA);
        self.fill_in("#password", "wrong horse");
        assert_ne!(self.seen("main .error, main .alert"), "");
    }

    /// Sets up a phone for a user who is signed in, and returns its secret.
    fn set_up_phone(&self) -> String {
        self.open("/account/phone");
        self.fill_in("#password", PASSWORD);
        let secret = self.browser.text("#secret");
        self.fill_in("#code", &self.code(&secret));
        secret
    }

    fn sign_in(&self) {
        self.browser.type_in("#name", ADA);
        self.fill_in("#password", PASSWORD);
    }

    /// Returns the code that the phone shows.
    fn code(&self, secret: &str) -> String {
        let now = format!("@{}", self.clock.now().as_secs());
        let output = Command::new("oathtool")
            .args(["--totp", "--base32", "--now", &now, secret])
            .output()
            .expect("the peer `oathtool` cannot be run: install the package oathtool");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// Returns the source of axe-core, in the version that `package-lock.json` pins.
fn axe() -> String {
    /// Held by the test that installs it, because several run at once.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/browser");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers/browser");
    let wanted = fs::read_to_string(sources.join("package-lock.json")).unwrap();
    let installed = folder.join("installed.txt");
    if fs::read_to_string(&installed).ok().as_ref() != Some(&wanted) {
        fs::create_dir_all(&folder).unwrap();
        for file in ["package.json", "package-lock.json"] {
            fs::copy(sources.join(file), folder.join(file)).unwrap();
        }
        let output = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .output()
            .expect("the peer `npm` cannot be run: install the package npm");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "npm ci: {told}");
        // Written last, so that an interrupted installation is repeated.
        fs::write(&installed, wanted).unwrap();
    }
    fs::read_to_string(folder.join("node_modules/axe-core/axe.min.js")).unwrap()
}

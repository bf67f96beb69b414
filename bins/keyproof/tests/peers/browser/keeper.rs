//! An operator uses the tills, the certificates and the TPMs of `/console`, with `oathtool` as a till's device, `openssl` as the
//! CA, with the commands that the page shows, and a software TPM with tpm2-tools as a device.

use std::{ops::Deref, process::Command, thread::sleep, time::Duration};

use data_encoding::HEXLOWER;
use keyproof_tpm::HashAlgorithm;
use tempfile::TempDir;

use super::guest::Guest;
use crate::swtpm::{event_log, station::Field};

#[test]
fn an_operator_walks_through_tills_certificates_and_tpms() {
    walk(true);
}

#[test]
fn an_operator_without_scripts_walks_through_tills_certificates_and_tpms() {
    walk(false);
}

fn walk(runs_scripts: bool) {
    let field = Field::new();
    field.provisions("");
    let selection = "--selection sha256:0,7,16";
    assert_eq!(field.attests(selection)["accepted"], true);
    // Attestations have times in whole seconds.
    sleep(Duration::from_secs(1));
    // The firmware changes, and its log contains what was measured.
    let measured = b"firmware 2, after an update";
    let digest = HashAlgorithm::Sha256.digest(&[measured]).unwrap();
    let extended = HEXLOWER.encode(&digest);
    field
        .tpm
        .run(&format!("tpm2_pcrextend 16:sha256={extended}"));
    field
        .tpm
        .write("log", &event_log(&[(16, &digest, measured)]));
    let refused = field.attests(&format!("{selection} --event-log log"));
    assert_eq!(refused["accepted"], false);
    let keeper = Keeper {
        guest: Guest::new(
            "console",
            field.server.url().replace("127.0.0.1", "localhost"),
            runs_scripts,
            None,
        ),
        folder: TempDir::new().unwrap(),
    };
    let token = field.server.token("admin");
    // Signs in again for each part: changes that weaken security require a recent sign-in.
    for part in [
        Keeper::till,
        Keeper::certificate,
        Keeper::tpm,
        Keeper::makers,
    ] {
        keeper.sign_in(&token);
        part(&keeper);
    }
    keeper.sign_in(&token);
    keeper.category_and_key();
    keeper.sign_in(&token);
    keeper.end_of_the_line();
    // With a scope for tills alone, the server's state is not shown.
    keeper.sign_in(&field.server.token("instances"));
    keeper.sees("needs the scope status-read");
    keeper.looks("start-without-status");
    keeper.browser_asked_nobody_else();
}

struct Keeper {
    guest: Guest,
    folder: TempDir,
}

impl Deref for Keeper {
    type Target = Guest;

    fn deref(&self) -> &Guest {
        &self.guest
    }
}

impl Keeper {
    fn sign_in(&self, token: &str) {
        self.open("/console/sign-in");
        self.fill_in("#token", token);
    }

    /// Copies the key. The clipboard is replaced, because a browser without a window may refuse to write to it.
    fn announces_a_copy(&self) {
        if self.axe.is_none() {
            return;
        }
        let copy = "const done = arguments[arguments.length - 1]; \
             navigator.clipboard.writeText = async () => {}; \
             const status = document.querySelector('.secret [role=status]'); \
             new MutationObserver(() => done(status.textContent)).observe(status, { childList: true }); \
             document.querySelector('button[data-copy]').click()";
        assert_eq!(self.browser.run_async(copy), "Copied");
    }

    fn till(&self) {
        self.open("/console/tills");
        self.looks("tills");
        self.browser.type_in("#name", "shop");
        self.fill_in("#password", "correct horse");
        self.looks("till-empty");
        self.browser.type_in("#id", "till 1");
        self.fill_in("#description", "by the door");
        self.looks("till-device-made");
        assert_eq!(
            self.browser.is_shown("button[data-copy]"),
            self.axe.is_some()
        );
        self.announces_a_copy();
        let secret = self.browser.text("#secret");
        self.browser.follow("main a.button");
        self.looks("till-device");
        assert_eq!(
            self.browser.is_shown("[data-countdown]"),
            self.axe.is_some()
        );
        self.browser.type_in(
            "#code",
            &self.output(&format!("oathtool --totp --base32 --digits=8 {secret}")),
        );
        self.browser.follow("form[action*='/check'] button");
        self.sees("It confirms a payment now.");
        self.browser.type_in("#code", "12345678");
        self.use_a_phone();
        self.browser.follow("form[action*='/check'] button");
        self.sees("This is no code of this device");
        self.shows_at_once("#check [role=status]");
        self.looks_from("till-device-checked", "check");
        // After a typing error the focus is in the field.
        self.browser.type_in("#code", "123");
        self.browser.follow("form[action*='/check'] button");
        self.sees("A code has eight digits.");
        self.holds("return document.activeElement.id === 'code'");
        self.open("/console/tills/shop");
        self.looks("till");
        self.browser.follow("tbody a");
        self.browser.follow("form[action*='/remove'] button");
        self.sees("The instance has no devices yet.");
        self.priced_device();
        self.browser.follow("form[action*='/remove'] button");
        self.sees("The instance has no devices yet.");
        self.browser.follow("form[action*='/remove'] button");
        assert!(!self.browser.text("main").contains("shop"));
    }

    /// Adds a device whose codes are each for one price.
    fn priced_device(&self) {
        self.browser.choose("#algorithm", "2");
        self.fill_in("#id", "till 2");
        self.looks("till-device-priced-made");
        self.browser.follow("main a.button");
        self.sees("type that price to see the codes");
        self.looks("till-device-priced");
        self.fill_in("#price", "EUR:4.50");
        self.sees("For EUR:4.50:");
        // The same button requests the page again.
        self.browser.follow("main form[method='get'] button");
        self.sees("For EUR:4.50:");
        self.browser.follow("main form[method='get'] button");
        self.sees("For EUR:4.50:");
        let code = self.seen("tr.now code");
        self.browser.clear("#of");
        self.browser.type_in("#of", "EUR:4.50");
        self.browser.type_in("#code", &code);
        self.browser.follow("form[action*='/check'] button");
        self.sees("It confirms a payment now.");
        self.looks_from("till-device-priced-checked", "check");
    }

    fn certificate(&self) {
        self.open("/console/certificates");
        self.looks("certificates-none");
        self.browser.type_in("#subscription", "sub-1");
        self.browser.type_in("#group", "group");
        self.fill_in("#service", "dps");
        self.looks("certificates-service-empty");
        self.shell(
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj '/O=Example/CN=Example Root CA' \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign",
        );
        self.browser.type_in("#name", "root");
        self.browser.type_in("#file", &self.file("ca.pem"));
        self.browser.follow("form[enctype] button");
        self.looks("certificate");
        self.use_a_phone();
        self.browser.follow("form[action*='/code'] button");
        self.shows_at_once("#secret");
        self.looks_from("certificate-code", "code-step");
        // A leaf of another CA is rejected, with each check shown.
        let commands = self.browser.text("#openssl");
        self.shell("openssl req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.pem -days 30 -subj '/CN=Other'");
        self.shell(
            &commands
                .replace("ca.pem", "other.pem")
                .replace("ca.key", "other.key"),
        );
        self.browser.type_in("#file", &self.file("leaf.pem"));
        self.use_a_phone();
        self.browser.follow("form[action*='/verify'] button");
        self.sees("Possession is not proven");
        self.shows_at_once("#report + [role=status]");
        self.looks_from("certificate-refused", "report");
        self.shell(&self.browser.text("#openssl"));
        self.browser.type_in("#file", &self.file("leaf.pem"));
        self.browser.follow("form[action*='/verify'] button");
        self.sees("Possession is proven");
        self.looks("certificate-proven");
        self.browser.follow("main p a");
        self.looks("certificates-service");
        self.open("/console/certificates");
        self.looks("certificates");
    }

    /// Views the provisioned device, and its attestations.
    fn tpm(&self) {
        self.open("/console/tpms");
        self.looks("tpms");
        self.browser.follow("main li a");
        self.looks("tpm-namespace");
        self.browser.follow("tbody a[href*='/managers/']");
        self.looks("tpm-manager");
        self.browser.follow("tbody a[href*='/device?']");
        self.sees("sha256:16 changed, not as learnt");
        self.sees("firmware 2, after an update");
        self.looks_whole("tpm-device");
        self.browser.follow("form[action*='/relearn'] button");
        assert!(!self.seen("main").contains("not as learnt"));
        self.browser.follow("form[action*='/forget'] button");
        self.sees("No device is bound to its TPM yet.");
    }

    /// Creates another namespace and its first manager, with a manufacturer's CA made by openssl.
    fn makers(&self) {
        self.shell(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout maker.key -out maker.pem -days 3000 \
             -subj '/O=Example Chips/CN=Example Chips EK Root' -addext basicConstraints=critical,CA:TRUE \
             -addext keyUsage=critical,keyCertSign; \
             openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ek.key -out ek.pem -days 3000 -subj '/CN=A TPM'",
        );
        self.open("/console/tpms");
        self.fill_in("#namespace", "Line 2");
        self.looks("tpms-refused");
        self.browser.clear("#namespace");
        self.fill_in("#namespace", "line-2");
        self.looks("tpm-namespace-empty");
        self.browser.follow("main a.button");
        self.looks("tpm-manager-add");
        // A private key is not a CA certificate.
        self.browser.type_in("#name", "makers");
        self.browser.type_in("#file", &self.file("maker.key"));
        self.browser.follow("main form[enctype] button");
        self.sees("Block 1");
        self.looks("tpm-manager-refused");
        self.browser.type_in("#description", "chips of line 2");
        self.browser.type_in("#file", &self.file("maker.pem"));
        self.browser.follow("main form[enctype] button");
        self.sees("Example Chips");
        self.browser.follow("form[action$='/bundle/trust'] button");
        self.sees("the trust bundle’s among them");
        self.browser.follow("form[action$='/makers/remove'] button");
        assert!(!self.seen("main").contains("Example Chips EK Root"));
        self.browser.type_in("#file", &self.file("maker.pem"));
        self.browser.follow("form[action$='/makers'] button");
        self.sees("Example Chips EK Root");
        self.looks("tpm-manager-made");
    }

    /// Creates a category of that manager, with a TPM's certificate made by openssl, and an API key.
    fn category_and_key(&self) {
        self.open("/console/tpms/line-2/managers/makers");
        self.browser.follow("dd a");
        self.looks("tpm-category-add");
        self.browser.type_in("#name", "gateways");
        self.browser.type_in("#file", &self.file("ek.pem"));
        self.browser.follow("main form[enctype] button");
        assert!(self.seen("#secret").starts_with("-----BEGIN"));
        self.looks("tpm-category-made");
        self.browser.follow("main a.button");
        self.browser.choose("#policy", "expected");
        self.browser
            .type_in("#registers", &format!("sha256:7 = {}", "0a".repeat(32)));
        self.browser.follow("form[action$='/registers'] button");
        self.sees("sha256:7");
        self.looks("tpm-category");

        self.browser.follow("dd a[href*='/keys?']");
        self.looks("tpm-key-add");
        self.browser.type_in("#description", "the second line");
        self.fill_in("#name", "station-2");
        assert!(self.seen("#secret").starts_with("keyproof_tpm_"));
        self.looks("tpm-key-made");
        self.browser.follow("main a.button");
        self.browser.follow("a[href$='/keys/station-2']");
        self.looks("tpm-key");
        self.browser.follow("form[action$='/disable'] button");
        self.sees("disabled");
        self.browser.follow("form[action$='/enable'] button");
        self.fill_in("#reason", "it was lost");
        self.sees("revoked: it was lost");
        self.looks("tpm-key-revoked");
    }

    /// Objects that others depend on cannot be deleted before those.
    fn end_of_the_line(&self) {
        self.open("/console/tpms/line-2/managers/makers");
        self.sees("Categories need it: delete those first.");
        for place in ["keys/station-2", "categories/gateways", "managers/makers"] {
            self.open(&format!("/console/tpms/line-2/{place}"));
            self.browser.follow("form[action$='/delete'] button");
        }
        self.sees("There is none yet.");
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs commands as a person who pastes them would.
    fn shell(&self, commands: &str) {
        let output = Command::new("sh")
            .args(["-ec", commands])
            .current_dir(&self.folder)
            .output();
        let output = output.unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{commands}: {told}");
    }

    fn output(&self, command: &str) -> String {
        let output = Command::new("sh").args(["-ec", command]).output().unwrap();
        assert!(
            output.status.success(),
            "the peer `oathtool` cannot be run: install the package oathtool"
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

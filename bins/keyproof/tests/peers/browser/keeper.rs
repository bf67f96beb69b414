//! An operator walks through the tills, the certificates and the TPMs of `/console`: with `oathtool` as a till's device,
//! `openssl` as the CA, whose commands are those that the page shows, and a software TPM with tpm2-tools as a device.

use std::{env, fs, path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use super::{axe, driver::Driver};
use crate::swtpm::station::Field;

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
    let digest = "7b".repeat(32);
    field.tpm.run(&format!("tpm2_pcrextend 16:sha256={digest}"));
    assert_eq!(field.attests(selection)["accepted"], false);
    let keeper = Keeper {
        browser: Driver::start(runs_scripts),
        base: field.server.url().replace("127.0.0.1", "localhost"),
        axe: runs_scripts.then(axe),
        folder: TempDir::new().unwrap(),
    };
    keeper.sign_in(&field.server.token("admin"));
    keeper.till();
    keeper.certificate();
    keeper.tpm();
}

struct Keeper {
    browser: Driver,
    base: String,
    /// The text of axe-core, where scripts run.
    axe: Option<String>,
    folder: TempDir,
}

impl Keeper {
    fn sign_in(&self, token: &str) {
        self.open("/console/sign-in");
        self.fill_in("#token", token);
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
        assert!(
            self.browser
                .text("main")
                .contains("It confirms a payment now.")
        );
        self.browser.type_in("#code", "12345678");
        self.browser.follow("form[action*='/check'] button");
        assert!(
            self.browser
                .text("main")
                .contains("This is no code of the device")
        );
        self.looks("till-device-checked");
        self.open("/console/tills/shop");
        self.looks("till");
        self.browser.follow("td a");
        self.browser.follow("form[action*='/remove'] button");
        assert!(
            self.browser
                .text("main")
                .contains("The instance has no devices yet.")
        );
        self.browser.follow("form[action*='/remove'] button");
        assert!(!self.browser.text("main").contains("shop"));
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
        self.browser.follow("form[action*='/code'] button");
        self.looks("certificate-code");
        // A leaf of another CA is refused, check by check.
        let commands = self.browser.text("#openssl");
        self.shell("openssl req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.pem -days 30 -subj '/CN=Other'");
        self.shell(
            &commands
                .replace("ca.pem", "other.pem")
                .replace("ca.key", "other.key"),
        );
        self.browser.type_in("#file", &self.file("leaf.pem"));
        self.browser.follow("form[action*='/verify'] button");
        assert!(
            self.browser
                .text("main")
                .contains("Possession is not proven")
        );
        self.looks("certificate-refused");
        self.shell(&self.browser.text("#openssl"));
        self.browser.type_in("#file", &self.file("leaf.pem"));
        self.browser.follow("form[action*='/verify'] button");
        assert!(self.browser.text("main").contains("Possession is proven"));
        self.looks("certificate-proven");
        self.browser.follow("main p a");
        self.looks("certificates-service");
        self.open("/console/certificates");
        self.looks("certificates");
    }

    fn tpm(&self) {
        self.open("/console/tpms");
        self.looks("tpms");
        self.browser.follow("main li a");
        self.looks("tpm-namespace");
        self.browser.type_in("#name", "line-2");
        self.fill_in("#description", "the second line");
        assert!(self.browser.text("#secret").starts_with("keyproof_tpm_"));
        self.looks("tpm-key-made");
        self.browser.follow("main a.button");
        self.browser.follow("a[href$='/keys/line-2']");
        self.looks("tpm-key");
        self.fill_in("#reason", "it was lost");
        assert!(self.browser.text("main").contains("revoked: it was lost"));
        self.browser.follow("td a[href*='/managers/']");
        self.looks("tpm-manager");
        self.browser.follow("td a[href*='/device?']");
        assert!(
            self.browser
                .text("main")
                .contains("sha256:16 changed, not as learnt")
        );
        self.looks("tpm-device");
        self.browser.follow("form[action*='/relearn'] button");
        assert!(!self.browser.text("main").contains("not as learnt"));
        self.browser.follow("form[action*='/forget'] button");
        assert!(
            self.browser
                .text("main")
                .contains("No device is bound to its TPM yet.")
        );
    }

    fn open(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.base));
    }

    /// Types in a field, and sends its form.
    fn fill_in(&self, field: &str, text: &str) {
        self.browser.send(field, text);
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs commands as a person would who pastes them.
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

    /// A page is as it should be, whoever looks at it, and at whatever width.
    fn looks(&self, page: &str) {
        for (name, width, scheme) in [
            ("light", 1000, "light"),
            ("dark", 1000, "dark"),
            ("narrow", 320, "light"),
        ] {
            self.browser.emulate(width, scheme);
            let Some(axe) = &self.axe else { continue };
            let wide = self
                .browser
                .run("return document.documentElement.scrollWidth");
            assert!(
                wide.as_u64().unwrap() <= width.into(),
                "{page}, {name}: {wide} pixels"
            );
            self.browser.run(&format!("{axe}; window.axe = axe;"));
            let found = self.browser.run_async(
                "const done = arguments[arguments.length - 1]; \
                 axe.run().then(found => done([found.violations, found.passes.length]))",
            );
            assert_eq!(found[0], Value::Array(Vec::new()), "{page}, {name}");
            if let Ok(folder) = env::var("KEYPROOF_PICTURES") {
                let file = Path::new(&folder).join(format!("console-{page}-{name}.png"));
                fs::write(file, self.browser.picture()).unwrap();
            }
        }
        self.browser.emulate(1000, "light");
        for entry in self.browser.log("browser") {
            let is_bad = ["SEVERE", "WARNING"].contains(&entry["level"].as_str().unwrap());
            // A refused form is answered with 422, which Chromium logs.
            let is_refusal = entry["message"].as_str().unwrap().contains("status of 422");
            assert!(!is_bad || is_refusal, "{page}: {entry}");
        }
    }
}

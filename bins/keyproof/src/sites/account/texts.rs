//! The table of all texts of the site, in each language.

use std::time::Duration;

use keyproof_http::whole_seconds;
use keyproof_service::Action;

use crate::sites::language::Language;

macro_rules! texts {
    ($($name:ident: $english:literal, $german:literal;)+) => {
        /// The texts of one language.
        #[derive(Debug)]
        pub(super) struct Texts {
            pub(super) language: Language,
            $(pub(super) $name: &'static str,)+
        }

        static ENGLISH: Texts = Texts { language: Language::English, $($name: $english,)+ };
        static GERMAN: Texts = Texts { language: Language::German, $($name: $german,)+ };

        #[cfg(test)]
        const PAIRS: &[(&str, &str, &str)] = &[$((stringify!($name), $english, $german),)+];
    };
}

texts! {
    site: "Your account", "Ihr Konto";
    skip: "Skip to the content", "Zum Inhalt springen";
    menu: "Account", "Konto";
    language_choice: "Language", "Sprache";
    error_prefix: "Error: ", "Fehler: ";

    overview: "Overview", "Übersicht";
    phone: "Phone", "Telefon";
    // A narrow screen may break this word at its soft hyphen: it is longer than a heading's line there.
    recovery_codes: "Recovery codes", "Wiederherstellungs\u{ad}codes";
    devices: "Trusted devices", "Vertrauenswürdige Geräte";
    password: "Password", "Passwort";
    activity: "Activity", "Aktivitäten";
    help: "Help", "Hilfe";
    sign_in: "Sign in", "Anmelden";
    sign_out: "Sign out", "Abmelden";
    signed_in_as: "Signed in as", "Angemeldet als";

    name: "User name", "Benutzername";
    name_or_password_wrong: "The user name or the password is wrong. Check both and try again.",
        "Benutzername oder Passwort ist falsch. Prüfen Sie beides und versuchen Sie es noch einmal.";
    continue_: "Continue", "Weiter";
    cancel: "Cancel", "Abbrechen";
    trouble: "Trouble signing in?", "Probleme beim Anmelden?";

    code_title: "Enter your code", "Code eingeben";
    code_lead: "Open the authenticator app on your phone and type the six digits that it shows for this account.",
        "Öffnen Sie die Authenticator-App auf Ihrem Telefon und geben Sie die sechs Ziffern ein, die sie für dieses Konto zeigt.";
    code: "Code", "Code";
    code_hint: "Six digits, or one of your recovery codes", "Sechs Ziffern oder einer Ihrer Wiederherstellungscodes";
    code_wrong: "This code is wrong, or it was used before. Wait until your phone shows the next one and type that.",
        "Dieser Code ist falsch oder wurde schon benutzt. Warten Sie, bis Ihr Telefon den nächsten zeigt, und geben Sie diesen ein.";
    code_needed: "A code is needed, too. Type the one that your phone shows now.",
        "Es wird auch ein Code gebraucht. Geben Sie den ein, den Ihr Telefon jetzt zeigt.";
    code_late: "This code is wrong or was used before, or ten minutes are over since you typed your password. Type your phone’s next code, or start again.",
        "Dieser Code ist falsch oder wurde schon benutzt, oder seit der Eingabe Ihres Passworts sind zehn Minuten vergangen. Geben Sie den nächsten Code Ihres Telefons ein, oder fangen Sie von vorn an.";
    trust: "Trust this browser for 90 days", "Diesem Browser 90 Tage lang vertrauen";
    trust_hint: "It then needs no code to sign in. Only on a device that is yours alone.",
        "Dann braucht er zum Anmelden keinen Code. Nur auf einem Gerät, das Ihnen allein gehört.";
    start_again: "Start again", "Von vorn anfangen";
    phone_lost: "I do not have my phone", "Ich habe mein Telefon nicht";

    confirm_title: "Confirm that it is you", "Bestätigen Sie, dass Sie es sind";
    confirm_lead: "The next step makes your account less safe if somebody else takes it. Type your password again, then a code.",
        "Der nächste Schritt macht Ihr Konto weniger sicher, wenn jemand anders als Sie ihn veranlasst. Geben Sie deshalb noch einmal Ihr Passwort ein und danach einen Code.";
    confirm_lead_plain: "You signed in a while ago. Type your password again.",
        "Ihre Anmeldung ist eine Weile her. Geben Sie noch einmal Ihr Passwort ein.";

    second_factor: "Second factor", "Zweiter Faktor";
    no_phone: "No phone is set up. Your password alone signs you in.",
        "Es ist kein Telefon eingerichtet. Ihr Passwort allein genügt zum Anmelden.";
    phone_pending: "A phone is not confirmed yet. Type one of its codes to finish.",
        "Ein Telefon ist noch nicht bestätigt. Geben Sie einen seiner Codes ein, um die Einrichtung abzuschließen.";
    phone_active: "You need a code from your phone to sign in.",
        "Beim Anmelden brauchen Sie einen Code von Ihrem Telefon.";
    since: "Since", "Seit";
    set_up_on: "Set up on", "Eingerichtet am";
    set_up_phone: "Set up a phone", "Telefon einrichten";
    finish_phone: "Finish the set-up", "Einrichtung abschließen";
    clock: "Your phone’s clock", "Die Uhr Ihres Telefons";
    clock_right: "It is right.", "Sie geht richtig.";
    no_recovery_codes: "You have none. Make some, so that you can sign in if your phone is lost.",
        "Sie haben keine. Erstellen Sie welche, damit Sie sich anmelden können, wenn Ihr Telefon verloren geht.";
    make_recovery_codes: "Make recovery codes", "Wiederherstellungs\u{ad}codes erstellen";
    sessions: "Sessions", "Sitzungen";
    sessions_lead: "The button ends every sign-in but this one, in other browsers and in programs. Trusted devices stay trusted, and application tokens valid.",
        "Die Schaltfläche beendet jede Anmeldung außer dieser, in anderen Browsern und in Programmen. Vertrauenswürdigen Geräten wird weiter vertraut, und Anwendungstoken bleiben gültig.";
    end_sessions: "End other sessions", "Andere Sitzungen beenden";
    sessions_ended: "All other sessions are ended.", "Alle anderen Sitzungen sind beendet.";
    factor_needed: "You signed in without a code. To change anything here, confirm that it is you.",
        "Sie haben sich ohne Code angemeldet. Um hier etwas zu ändern, bestätigen Sie, dass Sie es sind.";
    confirm: "Confirm", "Bestätigen";

    phone_lead: "An authenticator app on your phone makes a new code every 30 seconds. Type your password, then scan the QR code. After the first code, nobody can sign in with your password alone.",
        "Eine Authenticator-App auf Ihrem Telefon erzeugt alle 30 Sekunden einen neuen Code. Geben Sie Ihr Passwort ein und scannen Sie dann den QR-Code. Nach dem ersten Code kann sich niemand mehr mit Ihrem Passwort allein anmelden.";
    phone_password: "Your password", "Ihr Passwort";
    show_qr: "Show the QR code", "QR-Code zeigen";
    scan_title: "Scan this with your phone", "Scannen Sie diesen Code mit Ihrem Telefon";
    scan_lead: "Open your authenticator app, add an account, and point the camera at the code.",
        "Öffnen Sie Ihre Authenticator-App, fügen Sie ein Konto hinzu und richten Sie die Kamera auf den Code.";
    qr_label: "QR code with the key for your authenticator app", "QR-Code mit dem Schlüssel für Ihre Authenticator-App";
    secret_lead: "If you cannot scan it, type this key:", "Wenn Sie nicht scannen können, geben Sie diesen Schlüssel ein:";
    secret_open: "Open it in an app on this device", "In einer App auf diesem Gerät öffnen";
    secret_once: "It is shown only once. Nobody can show it again, and nobody but you needs it.",
        "Er wird nur dieses eine Mal gezeigt. Niemand kann ihn noch einmal zeigen, und niemand außer Ihnen braucht ihn.";
    first_code: "The code that the app shows now", "Der Code, den die App jetzt zeigt";
    first_code_hint: "Six digits", "Sechs Ziffern";
    activate: "Activate the phone", "Telefon aktivieren";
    activate_wrong: "This code is wrong. Wait for the next one and type that. If none works, the phone’s clock is off, or it has another key: start again.",
        "Dieser Code ist falsch. Warten Sie auf den nächsten und geben Sie diesen ein. Wenn keiner gilt, geht die Uhr des Telefons falsch, oder es hat einen anderen Schlüssel: Fangen Sie dann von vorn an.";
    key_replaced: "The key that you scanned is no longer valid: another one was made since, or it was removed. Start again.",
        "Der Schlüssel, den Sie gescannt haben, gilt nicht mehr: Inzwischen wurde ein anderer erzeugt, oder er wurde entfernt. Fangen Sie von vorn an.";
    activate_lead: "If your phone has the key, type the code that it shows now. If not, start again below.",
        "Wenn Ihr Telefon den Schlüssel hat, geben Sie den Code ein, den es jetzt zeigt. Wenn nicht, fangen Sie unten von vorn an.";
    activated: "Your phone is set up. Other sessions have been ended. Now make recovery codes, for the day it is lost.",
        "Ihr Telefon ist eingerichtet. Andere Sitzungen wurden beendet. Erstellen Sie nun Wiederherstellungscodes für den Fall, dass es verloren geht.";
    remove_phone: "Remove the phone", "Telefon entfernen";
    remove_lead: "After that, your password alone signs you in. Your recovery codes no longer work, no device is trusted any more, and all other sessions end.",
        "Danach genügt Ihr Passwort allein zum Anmelden. Ihre Wiederherstellungscodes gelten dann nicht mehr, keinem Gerät wird mehr vertraut, und alle anderen Sitzungen enden.";
    remove_why: "Do this if the phone is lost, or before you set up another one.",
        "Tun Sie das, wenn Sie das Telefon verloren haben, oder bevor Sie ein anderes einrichten.";
    confirm_to_remove: "Confirm that it is you, to remove the phone", "Identität bestätigen, um das Telefon zu entfernen";
    phone_removed: "The phone is removed.", "Das Telefon ist entfernt.";

    recovery_lead: "Each of the ten codes signs you in once without your phone. New codes make the earlier ones invalid.",
        "Mit jedem der zehn Codes können Sie sich einmal ohne Ihr Telefon anmelden. Neue Codes machen die bisherigen ungültig.";
    recovery_needs_phone: "Recovery codes replace a phone. Set up a phone first.",
        "Wiederherstellungscodes ersetzen ein Telefon. Richten Sie zuerst eines ein.";
    recovery_title: "Your recovery codes", "Ihre Wiederherstellungs\u{ad}codes";
    recovery_keep: "Print them or save them where others cannot find them. They are not shown again.",
        "Drucken Sie sie aus, oder speichern Sie sie dort, wo andere sie nicht finden. Sie werden nicht noch einmal gezeigt.";
    each_once: "Each code works once. Earlier codes no longer work.",
        "Jeder Code gilt einmal. Frühere Codes gelten nicht mehr.";
    print: "Print", "Drucken";
    download: "Download as a text file", "Als Textdatei herunterladen";
    copy: "Copy", "Kopieren";
    copied: "Copied", "Kopiert";
    kept: "I have kept them", "Ich habe sie gesichert";
    password_wrong: "This password is wrong.", "Dieses Passwort ist falsch.";

    devices_lead: "These browsers sign in with your password alone. Trust ends by itself after 90 days.",
        "In diesen Browsern genügt Ihr Passwort zum Anmelden. Das Vertrauen endet nach 90 Tagen von selbst.";
    no_devices: "No device is trusted. You can trust one when you sign in with a code.",
        "Keinem Gerät wird vertraut. Wenn Sie sich mit einem Code anmelden, können Sie angeben, dass Sie dem Browser vertrauen.";
    browser: "Browser", "Browser";
    system: "System", "System";
    unknown: "unknown", "unbekannt";
    this_browser: "this one", "dieser";
    revoke: "Revoke", "Widerrufen";
    device_revoked: "The device is no longer trusted. Its sessions continue until you end other sessions.",
        "Dem Gerät wird nicht mehr vertraut. Seine Sitzungen bestehen weiter, bis Sie andere Sitzungen beenden.";
    action: "Action", "Aktion";

    password_lead: "A new password ends every session and every trusted device. You then sign in with it. Application tokens stay valid: ask whoever runs this server to revoke those that are not yours.",
        "Ein neues Passwort beendet alle Sitzungen, und keinem Gerät wird mehr vertraut. Danach melden Sie sich mit dem neuen Passwort an. Anwendungstoken bleiben gültig: Bitten Sie den Betreiber dieses Servers, fremde zu widerrufen.";
    old_password: "Current password", "Bisheriges Passwort";
    new_password: "New password", "Neues Passwort";
    new_password_hint: "At least 8 characters", "Mindestens 8 Zeichen";
    repeat_password: "New password again", "Neues Passwort noch einmal";
    passwords_differ: "The two new passwords differ. Type the same one twice.",
        "Die beiden neuen Passwörter sind verschieden. Geben Sie zweimal dasselbe ein.";
    password_short: "The new password is too short: at least 8 characters.",
        "Das neue Passwort ist zu kurz: mindestens 8 Zeichen.";
    password_long: "The new password is too long: at most 1024 bytes.",
        "Das neue Passwort ist zu lang: höchstens 1024 Bytes.";
    change_password: "Change the password", "Passwort ändern";
    password_changed: "Your password is changed. Sign in with the new one.",
        "Ihr Passwort ist geändert. Melden Sie sich mit dem neuen an.";

    activity_lead: "What happened in your account, the latest first. Times are UTC.",
        "Was in Ihrem Konto geschehen ist, das Neueste zuerst. Die Zeiten sind in UTC.";
    when: "When", "Wann";
    what: "What", "Was";
    from: "From", "Von";
    no_activity: "Nothing in the last 90 days.", "Nichts in den letzten 90 Tagen.";
    activity_busy: "The server is too busy to show it just now. Load the page again in a moment.",
        "Der Server hat gerade zu viel zu tun, um sie zu zeigen. Laden Sie die Seite gleich noch einmal.";
    older: "Show older activity", "Ältere Aktivitäten zeigen";
    refused: "refused", "abgelehnt";
    last_sign_in: "Latest activity", "Letzte Aktivitäten";
    all_activity: "Show all activity", "Alle Aktivitäten anzeigen";

    help_lost: "My phone is lost", "Ich habe mein Telefon verloren";
    help_lost_text: "Sign in with your password, and type one of your recovery codes where a code is asked for. Then remove the phone under “Phone” and set up another one. Without recovery codes, ask whoever runs this server: they can remove the phone’s key, and see no secret of yours.",
        "Melden Sie sich mit Ihrem Passwort an, und geben Sie einen Ihrer Wiederherstellungscodes ein, wo nach einem Code gefragt wird. Entfernen Sie dann unter „Telefon“ das Telefon und richten Sie ein anderes ein. Wenn Sie keine Wiederherstellungscodes haben, wenden Sie sich an den Betreiber dieses Servers: Er kann den Schlüssel des Telefons entfernen und sieht keines Ihrer Geheimnisse.";
    help_clock: "My codes are refused", "Meine Codes werden abgelehnt";
    help_clock_text: "Codes depend on your phone’s clock. Let the phone set its time automatically. The server allows for a clock that is off by half a minute, or by up to a minute and a half if it drifts slowly. With a larger error, codes are wrong. Each code works once: wait for the next one.",
        "Codes hängen von der Uhr Ihres Telefons ab. Lassen Sie es die Zeit automatisch einstellen. Der Server gleicht eine Abweichung von einer halben Minute aus und bis zu anderthalb Minuten, wenn die Uhr nach und nach abweicht. Bei einer größeren Abweichung sind die Codes falsch. Jeder Code gilt einmal: Warten Sie auf den nächsten.";
    help_locked: "I am locked out", "Ich bin gesperrt";
    help_locked_text: "After several wrong tries, nothing is checked for a while, not even the right password or code; only a trusted browser is still let in by the right password. The page says how long. Wait that long, and try once more. After wrong codes the wait doubles each time.",
        "Nach mehreren falschen Versuchen wird eine Weile nichts geprüft, auch nicht das richtige Passwort oder der richtige Code; nur mit einem vertrauten Browser kommen Sie mit dem richtigen Passwort noch hinein. Die Seite sagt, wie lange. Warten Sie so lange, und versuchen Sie es noch einmal. Nach falschen Codes verdoppelt sich die Wartezeit jedes Mal.";
    help_stolen: "Somebody else may know my password", "Jemand anders kennt vielleicht mein Passwort";
    help_stolen_text: "Change it. That ends every session and every trusted device. Application tokens stay valid: ask whoever runs this server to revoke those that are not yours. Then look at the activity for sign-ins that were not yours.",
        "Ändern Sie es. Das beendet alle Sitzungen, und keinem Gerät wird mehr vertraut. Anwendungstoken bleiben gültig: Bitten Sie den Betreiber dieses Servers, fremde zu widerrufen. Sehen Sie dann unter „Aktivitäten“ nach, ob es Anmeldungen gab, die nicht von Ihnen waren.";

    signed_out: "You are signed out.", "Sie sind abgemeldet.";
    session_over: "Please sign in. A session ends after 15 minutes without use, and after 8 hours.",
        "Bitte melden Sie sich an. Eine Sitzung endet nach 15 Minuten ohne Nutzung und spätestens nach 8 Stunden.";
    insecure_title: "No safe connection", "Keine sichere Verbindung";
    insecure_text: "Others could read your password on its way to the server. Open this page with https:// in front; on the machine that keyproof runs on, http://localhost works, too.",
        "Andere könnten Ihr Passwort unterwegs lesen. Öffnen Sie diese Seite mit https:// davor; auf dem Rechner, auf dem keyproof läuft, genügt http://localhost.";
    forged_title: "This form is out of date", "Dieses Formular ist veraltet";
    forged_text: "It was filled in before you signed in or out, confirmed that it is you, set up a phone or ended other sessions, perhaps in another window; or on a page that is not ours. Nothing was done. Go back, load the page again, and fill it in once more.",
        "Es wurde ausgefüllt, bevor Sie sich an- oder abgemeldet, Ihre Identität bestätigt, ein Telefon eingerichtet oder andere Sitzungen beendet haben, vielleicht in einem anderen Fenster; oder auf einer Seite, die nicht unsere ist. Es ist nichts geschehen. Gehen Sie zurück, laden Sie die Seite neu, und füllen Sie es noch einmal aus.";
    not_found_title: "There is no such page", "Diese Seite gibt es nicht";
    not_found_text: "The address may be mistyped, or the page no longer exists.",
        "Vielleicht ist die Adresse falsch geschrieben, oder es gibt die Seite nicht mehr.";
    method_title: "That is not possible here", "Das geht hier nicht";
    method_text: "This address cannot be opened in this way. Nothing was done.",
        "Diese Adresse lässt sich so nicht öffnen. Es ist nichts geschehen.";
    malformed_title: "This cannot be read", "Das lässt sich nicht lesen";
    malformed_text: "What was sent is not a form of this page. Nothing was done.",
        "Was gesendet wurde, ist kein Formular dieser Seite. Es ist nichts geschehen.";
    away_title: "The database does not answer", "Die Datenbank antwortet nicht";
    away_text: "The server cannot answer without it. Try again in a moment.",
        "Ohne sie kann der Server nicht antworten. Versuchen Sie es gleich noch einmal.";
    not_served_title: "This server is no longer in use", "Dieser Server ist nicht mehr in Betrieb";
    not_served_text: "Nothing was changed. The data was moved to another server, or needs a key that this one does not have. Tell whoever runs it.",
        "Es wurde nichts geändert. Die Daten sind auf einen anderen Server umgezogen, oder diesem fehlt ihr Schlüssel. Melden Sie es dem Betreiber.";
    limited_title: "Too many requests", "Zu viele Anfragen";
    busy_title: "The server is busy", "Der Server ist ausgelastet";
    busy_text: "The server cannot answer just now. Try again in a moment.",
        "Der Server kann gerade nicht antworten. Versuchen Sie es gleich noch einmal.";
    unsure_title: "It is not known whether it was done", "Es ist unklar, ob es geschehen ist";
    unsure_text: "The server was too slow, or its answer was lost on its way: the change may or may not have been made. Check whether it is there before you repeat it.",
        "Der Server war zu langsam, oder seine Antwort ging unterwegs verloren: Ob die Änderung vorgenommen wurde, ist unklar. Sehen Sie nach, ob sie da ist, bevor Sie sie wiederholen.";
    broken_title: "Something is wrong with this server", "Mit diesem Server stimmt etwas nicht";
    broken_text: "Tell whoever runs it, with the number below.", "Melden Sie es dem Betreiber und nennen Sie die Nummer unten.";
    still_signed_in: "This did not sign you out.", "Sie wurden dadurch nicht abgemeldet.";
    request: "Request", "Anfrage";
    back: "Back to the overview", "Zurück zur Übersicht";
}

impl Texts {
    pub(super) const fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &ENGLISH,
            Language::German => &GERMAN,
        }
    }

    /// Formats a waiting time for people: rounded up, so that nobody comes back too early.
    fn duration(&self, time: Duration) -> String {
        let seconds = whole_seconds(time);
        let (number, words) = match seconds {
            0..=90 => (seconds, ["second", "seconds", "Sekunde", "Sekunden"]),
            91..=5_400 => (
                seconds.div_ceil(60),
                ["minute", "minutes", "Minute", "Minuten"],
            ),
            _ => (
                seconds.div_ceil(3_600),
                ["hour", "hours", "Stunde", "Stunden"],
            ),
        };
        let [one, many, eine, viele] = words;
        let word = match (self.language, number == 1) {
            (Language::English, true) => one,
            (Language::English, false) => many,
            (Language::German, true) => eine,
            (Language::German, false) => viele,
        };
        format!("{number} {word}")
    }

    pub(super) fn locked(&self, wait: Duration) -> String {
        let wait = self.duration(wait);
        match self.language {
            Language::English => format!(
                "There were too many wrong tries. Nothing is checked for now, not even the right password or code: try again in {wait}."
            ),
            Language::German => format!(
                "Es gab zu viele falsche Versuche. Zurzeit wird nichts geprüft, auch nicht das richtige Passwort oder der richtige Code: Versuchen Sie es in {wait} noch einmal."
            ),
        }
    }

    pub(super) fn limited(&self, wait: Duration) -> String {
        let wait = self.duration(wait);
        match self.language {
            Language::English => {
                format!("Too many requests came from your address: try again in {wait}.")
            }
            Language::German => format!(
                "Von Ihrer Adresse kamen zu viele Anfragen: Versuchen Sie es in {wait} noch einmal."
            ),
        }
    }

    pub(super) fn clock_off(&self, ahead: i64) -> String {
        let by = self.duration(Duration::from_secs(ahead.unsigned_abs()));
        match (self.language, ahead > 0) {
            (Language::English, true) => format!(
                "It was about {by} fast when it last made a code. That is allowed for; still, let the phone set its time automatically."
            ),
            (Language::English, false) => format!(
                "It was about {by} slow when it last made a code. That is allowed for; still, let the phone set its time automatically."
            ),
            (Language::German, true) => format!(
                "Sie ging bei ihrem letzten Code etwa {by} vor. Das wird berücksichtigt; lassen Sie das Telefon die Zeit trotzdem automatisch einstellen."
            ),
            (Language::German, false) => format!(
                "Sie ging bei ihrem letzten Code etwa {by} nach. Das wird berücksichtigt; lassen Sie das Telefon die Zeit trotzdem automatisch einstellen."
            ),
        }
    }

    /// Tells how many recovery codes are left; `None` if there are none, whether they were used or never made.
    pub(super) fn codes_left(&self, left: Option<usize>) -> Option<String> {
        let left = left.filter(|left| *left > 0)?;
        Some(match (self.language, left) {
            (Language::English, 1) => "1 of 10 is left.".to_owned(),
            (Language::English, left) => format!("{left} of 10 are left."),
            (Language::German, 1) => "1 von 10 ist noch übrig.".to_owned(),
            (Language::German, left) => format!("{left} von 10 sind noch übrig."),
        })
    }

    pub(super) fn times(&self, count: u64) -> String {
        match self.language {
            Language::English => format!("{count} times"),
            Language::German => format!("{count}-mal"),
        }
    }

    /// Describes an action of the audit trail for its user; an unknown action has its own text. It is a noun, which “refused” may
    /// follow.
    pub(super) fn action<'a>(&self, action: &'a str) -> &'a str {
        let mut all = Action::ALL.iter();
        let Some(known) = all.find(|known| known.name() == action) else {
            return action;
        };
        let (english, german) = match known {
            Action::UserAuthenticate => ("Sign-in", "Anmeldung"),
            Action::UserChallenge => (
                "Password accepted, code asked for",
                "Passwort angenommen, Code verlangt",
            ),
            Action::UserSetPassword => ("Change of the password", "Änderung des Passworts"),
            Action::UserAdd => ("Creation of the account", "Anlegen des Kontos"),
            Action::UserSuspend => ("Suspension of the account", "Deaktivierung des Kontos"),
            Action::UserActivate => ("Activation of the account", "Aktivierung des Kontos"),
            Action::UserUnlock => ("Lifting of locks", "Aufhebung von Sperren"),
            Action::UserSessionEnd => ("Sign-out", "Abmeldung"),
            Action::UserSessionsEndAll => ("End of all sessions", "Beenden aller Sitzungen"),
            Action::UserSessionsEnd => ("End of other sessions", "Beenden anderer Sitzungen"),
            Action::RefreshTokenUse | Action::RefreshTokenRotate => (
                "Renewal of a program’s session",
                "Erneuerung der Sitzung eines Programms",
            ),
            Action::TrustedDeviceAdd => ("New trusted device", "Neues vertrauenswürdiges Gerät"),
            Action::TrustedDeviceRemove => (
                "Revocation of a trusted device",
                "Widerruf eines vertrauenswürdigen Geräts",
            ),
            Action::TrustedDeviceList => (
                "List of trusted devices",
                "Liste der vertrauenswürdigen Geräte",
            ),
            Action::MfaKeyAdd => (
                "Start of a phone’s set-up",
                "Beginn der Einrichtung eines Telefons",
            ),
            Action::MfaKeyActivate => ("Set-up of a phone", "Einrichtung eines Telefons"),
            Action::MfaKeyRemove => ("Removal of the phone", "Entfernen des Telefons"),
            Action::RecoveryCodesMake => {
                ("New recovery codes", "Neue Wiederherstellungs\u{ad}codes")
            }
            Action::ApplicationAuthenticate => {
                ("Sign-in of an application", "Anmeldung einer Anwendung")
            }
            Action::ApplicationTokenAdd => ("New application token", "Neues Anwendungstoken"),
            Action::ApplicationTokenChange => (
                "Change of an application token",
                "Änderung eines Anwendungstokens",
            ),
            Action::ApplicationTokenRevoke => (
                "Revocation of an application token",
                "Widerruf eines Anwendungstokens",
            ),
            _ => (action, action),
        };
        match self.language {
            Language::English => english,
            Language::German => german,
        }
    }
}

#[cfg(test)]
mod tests {
    use keyproof_service::audit::Domain;

    use super::*;

    #[test]
    fn whatever_happens_in_an_account_is_said_in_both_languages() {
        let (english, german) = (Texts::of(Language::English), Texts::of(Language::German));
        // Nobody sees these: a removed user has no pages, and a signing key belongs to no account.
        let unseen = [
            Action::SigningKeyEnd,
            Action::SigningKeyReplace,
            Action::UserForget,
            Action::UserRemove,
        ];
        let all = Action::ALL.iter();
        for action in all.filter(|it| it.domain() == Domain::Accounts && !unseen.contains(it)) {
            let name = action.name();
            let (en, de) = (english.action(name), german.action(name));
            assert!(en != name && de != name && en != de, "{name}");
        }
    }

    #[test]
    fn every_text_is_there_in_both_languages() {
        for (name, english, german) in PAIRS {
            assert!(
                !english.trim().is_empty() && !german.trim().is_empty(),
                "{name}"
            );
            // Only these words are the same in both languages.
            let is_same = ["code", "browser", "system"].contains(name);
            assert_eq!(english == german, is_same, "{name}");
            // Typographic apostrophes everywhere.
            assert!(!english.contains('\'') && !german.contains('\''), "{name}");
            let sentence = |text: &str| text.ends_with(['.', '?']);
            assert_eq!(sentence(english), sentence(german), "{name}");
        }
    }

    #[test]
    fn whoever_has_used_the_last_recovery_code_has_none() {
        let german = Texts::of(Language::German);
        for (left, told) in [
            (None, None),
            (Some(0), None),
            (Some(1), Some("1 von 10 ist noch übrig.")),
            (Some(2), Some("2 von 10 sind noch übrig.")),
        ] {
            assert_eq!(german.codes_left(left).as_deref(), told);
        }
    }

    #[test]
    fn times_are_said_as_people_say_them_and_never_too_short() {
        let (english, german) = (Texts::of(Language::English), Texts::of(Language::German));
        for (millis, en, de) in [
            (1_000, "1 second", "1 Sekunde"),
            (1_001, "2 seconds", "2 Sekunden"),
            (90_001, "2 minutes", "2 Minuten"),
            (300_000, "5 minutes", "5 Minuten"),
            (5_401_000, "2 hours", "2 Stunden"),
        ] {
            let time = Duration::from_millis(millis);
            assert_eq!(
                (&*english.duration(time), &*german.duration(time)),
                (en, de)
            );
        }
    }
}

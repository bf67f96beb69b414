//! Configuration files.

use std::{fs, path::PathBuf, sync::LazyLock};

use keyproof::config::{Config, Sources};

/// A file that only this process uses.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    folder.join(format!("keyproof-fuzz-{}.toml", std::process::id()))
});

/// A configuration file. If it is accepted, the effective configuration is written, and that file is accepted with the same result.
pub fn file(data: &[u8]) {
    match load(data) {
        Ok(config) => {
            let effective = config.to_toml();
            match load(effective.as_bytes()) {
                Ok(again) => assert_eq!(again.to_toml(), effective),
                Err(error) => panic!("{error}\n{effective}"),
            }
        }
        Err(error) => assert!(!error.is_empty()),
    }
}

fn load(text: &[u8]) -> Result<Config, String> {
    fs::write(&*FILE, text).expect("a file");
    let config = Config::load(&Sources {
        file: Some(FILE.clone()),
        ..Sources::default()
    });
    config.map_err(|error| error.to_string())
}

//! The contents of a package: a bill of materials in CycloneDX 1.5, from cargo's metadata of the program.

#![expect(clippy::indexing_slicing, reason = "an absent JSON member is null")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::{Value, json};
use toml::Table;

use super::{timestamp, triple};
use crate::{
    failure::Failure,
    process::{cargo, output},
    workspace,
};

const PROGRAM: &str = "keyproof";

/// A Debian package in an image.
pub(super) struct Debian {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
}

/// Returns the bill for the program, and for the Debian packages with it.
pub(super) fn of(version: &str, epoch: u64, beside: &[Debian]) -> Result<String, Failure> {
    let mut metadata = cargo(["metadata", "--locked", "--format-version", "1"]);
    metadata.args(["--filter-platform", &triple()?]);
    let metadata = output(metadata.args(super::FEATURES))?;
    let problem = |problem: &str| Failure::wrong("Cargo.toml", problem);
    let metadata: Value =
        serde_json::from_str(&metadata).map_err(|error| problem(&error.to_string()))?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Value> = list(&metadata["packages"])
        .into_iter()
        .map(|package| (text(&package["id"]), package))
        .collect();
    let needs: BTreeMap<String, Vec<String>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| (text(&node["id"]), needed(node)))
        .collect();
    let root = packages
        .iter()
        .find(|(_, package)| package["name"] == PROGRAM)
        .map(|(id, _)| id.clone())
        .ok_or_else(|| problem("cargo metadata names no package keyproof"))?;
    let checksums = checksums()?;

    let mut found = BTreeSet::from([root.clone()]);
    let mut open = vec![root.clone()];
    while let Some(id) = open.pop() {
        for needed in needs.get(&id).into_iter().flatten() {
            if found.insert(needed.clone()) {
                open.push(needed.clone());
            }
        }
    }
    let reference = |id: &str| {
        let package = packages.get(id).unwrap_or(&Value::Null);
        format!(
            "pkg:cargo/{}@{}",
            text(&package["name"]),
            text(&package["version"])
        )
    };
    let mut components: Vec<Value> = found
        .iter()
        .filter(|id| **id != root)
        .filter_map(|id| Some(component(packages.get(id)?, &reference(id), &checksums)))
        .collect();
    components.extend(beside.iter().map(|package| {
        let url = format!(
            "pkg:deb/debian/{}@{}?arch={}",
            package.name,
            package.version.replace('+', "%2B").replace('~', "%7E"),
            package.architecture
        );
        json!({
            "type": "library",
            "bom-ref": url,
            "name": package.name,
            "version": package.version,
            "purl": url,
        })
    }));
    let dependencies: Vec<Value> = found
        .iter()
        .map(|id| {
            let needed: BTreeSet<String> = needs
                .get(id)
                .into_iter()
                .flatten()
                .map(|id| reference(id))
                .collect();
            json!({ "ref": reference(id), "dependsOn": needed })
        })
        .collect();
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(epoch),
            "component": {
                "type": "application",
                "bom-ref": reference(&root),
                "name": PROGRAM,
                "version": version,
                "purl": reference(&root),
                "licenses": [{ "expression": packages.get(&root).map(|package| &package["license"]) }],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    serde_json::to_string_pretty(&bill)
        .map(|bill| bill + "\n")
        .map_err(|error| problem(&error.to_string()))
}

/// Returns a package's runtime dependencies, without those for building or testing.
fn needed(node: &Value) -> Vec<String> {
    let dependencies = node["deps"].as_array().into_iter().flatten();
    let at_run_time = dependencies.filter(|dependency| {
        let mut kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
        kinds.any(|kind| kind["kind"].is_null())
    });
    at_run_time
        .filter_map(|dependency| dependency["pkg"].as_str().map(str::to_owned))
        .collect()
}

fn component(
    package: &Value,
    reference: &str,
    checksums: &BTreeMap<(String, String), String>,
) -> Value {
    let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
    let mut component = json!({
        "type": "library",
        "bom-ref": reference,
        "name": package["name"],
        "version": package["version"],
        "purl": reference,
    });
    if let Some(license) = package["license"].as_str() {
        // An older form of SPDX expressions in crates.
        let license = license.replace('/', " OR ");
        component["licenses"] = json!([{ "expression": license }]);
    }
    if let Some(checksum) = checksums.get(&(text("name"), text("version"))) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

/// Returns the checksums in Cargo.lock, by name and version.
fn checksums() -> Result<BTreeMap<(String, String), String>, Failure> {
    let lock = workspace::read(Path::new("Cargo.lock"))?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let tables = packages
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_table);
    let text = |table: &Table, field| table.get(field)?.as_str().map(str::to_owned);
    Ok(tables
        .filter_map(|table| {
            let key = (text(table, "name")?, text(table, "version")?);
            Some((key, text(table, "checksum")?))
        })
        .collect())
}

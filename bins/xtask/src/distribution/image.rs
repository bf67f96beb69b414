//! The OCI image, as an image layout in a folder, built without a daemon.

#![expect(clippy::indexing_slicing, reason = "an absent JSON member is null")]

use std::{path::Path, process::Command};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Contents, architecture,
    bill::{self, Debian},
    read, root, timestamp,
    tree::{Node, Tree, gzip},
};
use crate::{
    failure::Failure,
    process::{bytes, extract},
    workspace,
};

/// The system packages that the program needs.
const PACKAGES: &str = "libc6,libgcc-s1,ca-certificates";
/// The downloaded packages that go into the image. The others only configure them.
const KEPT: [&str; 4] = ["ca-certificates", "gcc-12-base", "libc6", "libgcc-s1"];

/// A user without a name, as in distroless images.
const USER: u64 = 65_532;

/// The image's name after loading, without its tag. It belongs to no registry.
const NAME: &str = "localhost/keyproof";

/// The listening address: loopback would not be reachable from outside the container.
pub(super) const LISTEN: &str = "0.0.0.0:8443";

/// The system's part of the image, which is the same for every build with the same archive.
pub(super) struct Base {
    files: Tree,
    packages: Vec<Debian>,
}

impl Base {
    /// Downloads the packages, whose signatures apt verifies, and takes their files.
    pub(super) fn download(folder: &Path) -> Result<Self, Failure> {
        let into = folder.join("base");
        root::extract(PACKAGES, &into)?;
        let mut base = Self {
            files: Tree::default(),
            packages: Vec::new(),
        };
        let archives = into.join("var/cache/apt/archives");
        for path in workspace::entries(archives)? {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let parts: Vec<&str> = name.split('_').collect();
            if let [name, version, architecture] = parts[..]
                && KEPT.contains(&name)
            {
                base.take(&path)?;
                base.packages.push(Debian {
                    name: name.to_owned(),
                    version: version.replace("%3a", ":"),
                    architecture: architecture.to_owned(),
                });
            }
        }
        base.trust();
        Ok(base)
    }

    /// Takes a package's files, without documentation except copyright notices.
    fn take(&mut self, package: &Path) -> Result<(), Failure> {
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("--fsys-tarfile").arg(package);
        self.add(&bytes(&mut unpack)?).map_err(Failure::at(package))
    }

    fn add(&mut self, archive: &[u8]) -> std::io::Result<()> {
        for entry in tar::Archive::new(archive).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            let path = path
                .trim_start_matches("./")
                .trim_end_matches('/')
                .to_owned();
            let is_for_people = [
                "usr/share/doc",
                "usr/share/lintian",
                "usr/share/man",
                "usr/sbin",
            ]
            .iter()
            .any(|folder| path.starts_with(folder));
            if path.is_empty() || (is_for_people && !path.ends_with("/copyright")) {
                continue;
            }
            // Since Debian 12, /lib is /usr/lib.
            let path = match path.split_once('/') {
                Some(("lib" | "lib64" | "bin" | "sbin", _)) => format!("usr/{path}"),
                _ => path,
            };
            let mode = entry.header().mode()?;
            let node = match entry.header().entry_type() {
                tar::EntryType::Regular => {
                    let mut content = Vec::new();
                    std::io::Read::read_to_end(&mut entry, &mut content)?;
                    Node::File(content)
                }
                tar::EntryType::Symlink => {
                    let to = entry.link_name()?.unwrap_or_default();
                    Node::Link(to.to_string_lossy().into_owned())
                }
                // Folders are created with their contents.
                _ => continue,
            };
            self.files.put(&path, node, mode, 0);
        }
        Ok(())
    }

    /// Creates the file with certification authorities, as update-ca-certificates does.
    fn trust(&mut self) {
        let authorities: Vec<u8> = self
            .files
            .files()
            .filter(|(path, _)| path.starts_with("usr/share/ca-certificates/"))
            .flat_map(|(_, content)| content.to_vec())
            .collect();
        self.files
            .file("etc/ssl/certs/ca-certificates.crt", authorities);
        for folder in ["bin", "lib", "lib64", "sbin"] {
            let to = format!("usr/{folder}");
            self.files.put(&to, Node::Folder, 0o755, 0);
            self.files.put(folder, Node::Link(to), 0o777, 0);
        }
        self.files.file(
            "etc/passwd",
            format!("keyproof:x:{USER}:{USER}:keyproof:/var/lib/keyproof:/usr/sbin/nologin\n"),
        );
        self.files
            .file("etc/group", format!("keyproof:x:{USER}:\n"));
        // The links of /etc/os-release are for programs that identify the system.
        for folder in ["dev", "etc/keyproof", "proc", "sys"] {
            self.files.put(folder, Node::Folder, 0o755, 0);
        }
        self.files.put("tmp", Node::Folder, 0o1777, 0);
    }
}

/// Returns the image as the files of its layout.
pub(super) fn pack(contents: &Contents, base: &Base) -> Result<(Tree, String), Failure> {
    let bill = bill::of(&contents.version, contents.epoch, &base.packages)?;
    let mut own = Tree::default();
    own.put(
        "usr/bin/keyproof",
        Node::File(contents.program.clone()),
        0o755,
        0,
    );
    own.file("usr/share/doc/keyproof/sbom.cdx.json", bill.clone());
    own.put("var/lib/keyproof", Node::Folder, 0o700, USER);
    let layout = layout(contents, [&base.files, &own]).map_err(Failure::at("the image"))?;
    Ok((layout, bill))
}

fn layout(contents: &Contents, layers: [&Tree; 2]) -> std::io::Result<Tree> {
    let mut tree = Tree::default();
    let (mut descriptors, mut plain) = (Vec::new(), Vec::new());
    for layer in layers {
        let archive = layer.tar(contents.epoch)?;
        plain.push(format!("sha256:{}", digest(&archive)));
        let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
        descriptors.push(blob(&mut tree, kind, gzip(&archive)?));
    }
    let created = timestamp(contents.epoch);
    let labels = json!({
        "org.opencontainers.image.title": "keyproof",
        "org.opencontainers.image.version": contents.version,
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
        "org.opencontainers.image.created": created,
    });
    let configuration = json!({
        "created": created,
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Env": [
                "PATH=/usr/bin",
                // The default store is keyproof/keyproof.db there. A variable for the store itself would override a
                // configuration file.
                "XDG_STATE_HOME=/var/lib",
            ],
            "Entrypoint": ["/usr/bin/keyproof"],
            // Not in the environment, because commands that run beside the server would then also need TLS.
            "Cmd": ["serve", "--listen", LISTEN],
            "WorkingDir": "/var/lib/keyproof",
            "ExposedPorts": { "8443/tcp": {} },
            "Volumes": { "/var/lib/keyproof": {} },
            "Labels": labels,
            "StopSignal": "SIGTERM",
        },
        "rootfs": { "type": "layers", "diff_ids": plain },
        "history": [
            { "created": created, "created_by": "Debian packages" },
            { "created": created, "created_by": "keyproof" },
        ],
    });
    let kind = "application/vnd.oci.image.config.v1+json";
    let configuration = blob(&mut tree, kind, configuration.to_string().into_bytes());
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": configuration,
        "layers": descriptors,
        "annotations": labels,
    });
    let mut manifest = blob(&mut tree, kind, manifest.to_string().into_bytes());
    // Podman and containerd take the first as the image's full name. Without it, podman takes the tag as the name.
    manifest["annotations"] = json!({
        "io.containerd.image.name": format!("{NAME}:{}", contents.version),
        "org.opencontainers.image.ref.name": contents.version,
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    tree.file("index.json", index.to_string());
    tree.file(
        "oci-layout",
        json!({ "imageLayoutVersion": "1.0.0" }).to_string(),
    );
    Ok(tree)
}

/// Adds a blob to the layout, and returns its descriptor.
fn blob(tree: &mut Tree, kind: &str, content: Vec<u8>) -> Value {
    let digest = digest(&content);
    let size = content.len();
    tree.file(&format!("blobs/sha256/{digest}"), content);
    json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": size })
}

fn digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Unpacks an image's layers in order, as a container engine does, and returns its configuration.
pub(super) fn unpack(layout: &Path, into: &Path) -> Result<Value, Failure> {
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        layout
            .join("blobs/sha256")
            .join(digest.trim_start_matches("sha256:"))
    };
    let json = |path: &Path| -> Result<Value, Failure> {
        serde_json::from_slice(&read(path)?)
            .map_err(|error| Failure::wrong(path, error.to_string()))
    };
    let index = json(&layout.join("index.json"))?;
    let manifest = json(&blob(&index["manifests"][0]))?;
    for layer in manifest["layers"].as_array().into_iter().flatten() {
        let options = ["--same-owner", "--preserve-permissions"];
        extract(&blob(layer), into, &options)?;
    }
    json(&blob(&manifest["config"]))
}

//! The embedded templates, and a new folder of them.
//!
//! `plugins/templates/<language>/common` and `…/<role>` are put together. In names
//! and contents `{{name}}` is the name of the plugin, `{{name_snake}}` the same
//! with underscores, `{{role}}` the role, and `{{sdk}}` what a Rust crate depends on. A file called
//! `X.template` becomes `X`: some names mean something to tools in weir's own
//! repository.

use std::path::{Path, PathBuf};

use super::project::{Language, RoleName};
use crate::{Error, Result};

/// Paths below the repository, and contents.
const EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

const TEMPLATES: &str = "plugins/templates";
const CONTRACT: &str = "wit/0.1.0";
const SUFFIX: &str = ".template";
/// The crate that a Rust plugin is written with.
const RUST_SDK: &str = "plugins/sdk";
const SDK_CRATE: &str = "weir-plugin";
const RUST_SDK_GIT: &str = "{ git = \"https://github.com/weir-stream/weir\" }";

/// A longer name makes long paths and says no more.
const MAX_NAME_CHARS: usize = 60;

/// What to make.
#[derive(Debug, Clone)]
pub struct NewProject<'a> {
    /// The language.
    pub language: Language,
    /// The role.
    pub role: RoleName,
    /// The name, in kebab case.
    pub name: &'a str,
    /// A checkout of weir whose SDK is used instead of the published one.
    pub sdk: Option<&'a Path>,
}

/// Make a folder with a project that builds; returns the files, relative to it.
///
/// # Errors
/// Config if the name cannot be used, there is no such template, or the folder
/// exists and is not empty; Unavailable if a file cannot be written.
pub fn create(new: &NewProject<'_>, folder: &Path) -> Result<Vec<PathBuf>> {
    refuse_name(new.name)?;
    if new.language == Language::Rust && new.name == SDK_CRATE {
        return Err(Error::config(format!("`{SDK_CRATE}` is the crate that it is written with: choose another name")));
    }
    let sdk = rust_sdk(new)?;
    let files = files(new, &sdk)?;
    let is_used = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file();
    if is_used {
        return Err(Error::config(format!("{} exists already: choose another name or folder", folder.display())));
    }
    let mut written = Vec::new();
    for (path, content) in files {
        write(&folder.join(&path), &content)?;
        written.push(path);
    }
    written.sort();
    Ok(written)
}

fn refuse_name(name: &str) -> Result<()> {
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let is_name = name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name.chars().all(fits)
        && !name.ends_with('-')
        && !name.contains("--")
        && name.len() <= MAX_NAME_CHARS;
    match is_name {
        true => Ok(()),
        false => Err(Error::config(format!(
            "`{name}` cannot name a plugin: use lower-case letters, digits and single hyphens, with a letter first, \
             such as `geo-fence`"
        ))),
    }
}

/// What a Rust crate depends on.
fn rust_sdk(new: &NewProject<'_>) -> Result<String> {
    let Some(sdk) = new.sdk else { return Ok(RUST_SDK_GIT.to_owned()) };
    if new.language != Language::Rust {
        return Err(Error::config("`--sdk` is for Rust: for other languages the SDK is copied into the project"));
    }
    let found = [sdk.join(RUST_SDK), sdk.to_owned()].into_iter().find(|folder| folder.join("Cargo.toml").is_file());
    let missing =
        || Error::config(format!("there is no SDK in {}: name a checkout of weir, or its {RUST_SDK}", sdk.display()));
    let folder = found.ok_or_else(missing)?;
    let folder = folder.canonicalize().map_err(|error| missing().because(error))?;
    Ok(format!("{{ path = {:?} }}", folder.display().to_string()))
}

type File = (PathBuf, Vec<u8>);

/// The files of a project, relative to its folder.
fn files(new: &NewProject<'_>, sdk: &str) -> Result<Vec<File>> {
    let language = new.language.name();
    let role = format!("{TEMPLATES}/{language}/{}", new.role.name());
    let mut files: Vec<File> = Vec::new();
    for from in [format!("{TEMPLATES}/{language}/common"), role.clone()] {
        files.extend(below(&from).map(|(path, content)| {
            let path = filled(path, new, sdk);
            let path = PathBuf::from(path.strip_suffix(SUFFIX).unwrap_or(&path));
            match std::str::from_utf8(content) {
                Ok(text) => (path, filled(text, new, sdk).into_bytes()),
                Err(_) => (path, content.to_vec()),
            }
        }));
    }
    if below(&role).next().is_none() {
        return Err(Error::config(format!("there is no template for a {} in {language} yet", new.role.name())));
    }
    // A crate has the contract and its helpers in its dependency.
    if new.language != Language::Rust {
        let copied = |from: &str, to: &'static str| {
            let copy =
                move |(path, content): (&'static str, &'static [u8])| (Path::new(to).join(path), content.to_vec());
            below(from).map(copy).collect::<Vec<File>>()
        };
        files.extend(copied(CONTRACT, "wit"));
        files.extend(copied(&format!("plugins/{language}"), "sdk"));
    }
    Ok(files)
}

/// The embedded files below a folder.
fn below(folder: &str) -> impl Iterator<Item = (&'static str, &'static [u8])> {
    let prefix = format!("{folder}/");
    EMBEDDED.iter().filter_map(move |(path, content)| Some((path.strip_prefix(&prefix)?, *content)))
}

fn filled(text: &str, new: &NewProject<'_>, sdk: &str) -> String {
    let snake = new.name.replace('-', "_");
    let text = text.replace("{{name}}", new.name).replace("{{name_snake}}", &snake);
    text.replace("{{role}}", new.role.name()).replace("{{sdk}}", sdk)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, content));
    made.and_then(|()| make_executable(path, content))
        .map_err(|error| Error::unavailable(format!("cannot write {}", path.display())).because(error))
}

/// Scripts can be run.
#[cfg(unix)]
fn make_executable(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if content.starts_with(b"#!") {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn make_executable(_path: &Path, _content: &[u8]) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::project::{PROJECT_FILE, Project};
    use super::*;

    const ROLES: [RoleName; 4] = [RoleName::Parser, RoleName::Transform, RoleName::Aggregator, RoleName::Rule];

    #[test]
    fn every_template_is_a_project_with_a_case_and_a_page() {
        let languages = [Language::Rust, Language::Python, Language::Javascript, Language::C];
        for language in languages {
            for role in ROLES {
                let new = NewProject { language, role, name: "geo-fence", sdk: None };
                let folder = tempfile::tempdir().unwrap();
                let files = match create(&new, folder.path()) {
                    Ok(files) => files,
                    // Languages come one by one; Rust is always there.
                    Err(error) if language != Language::Rust => {
                        assert!(error.to_string().contains("there is no template"), "{error}");
                        continue;
                    }
                    Err(error) => unreachable!("{error}"),
                };
                let project = Project::open(folder.path()).unwrap();
                assert_eq!((project.name.as_str(), project.language, project.role), ("geo-fence", language, role));
                let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
                for name in [PROJECT_FILE, "README.md", ".gitignore"] {
                    assert!(names.iter().any(|file| file == name), "{name} is missing: {names:?}");
                }
                assert!(names.iter().any(|file| file.ends_with("expected.jsonl")), "{names:?}");
                for file in &files {
                    let bytes = std::fs::read(folder.path().join(file)).unwrap();
                    let is_sdk = file.starts_with("sdk") || file.starts_with("wit");
                    let text = String::from_utf8_lossy(&bytes);
                    assert!(is_sdk || !text.contains("{{name"), "{} has a placeholder left", file.display());
                }
            }
        }
    }

    #[test]
    fn names_and_folders_that_cannot_be_used_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let new = |name| NewProject { language: Language::Rust, role: RoleName::Rule, name, sdk: None };
        for name in ["", "Geo", "geo_fence", "-geo", "geo-", "1geo", "geo--fence", "géo"] {
            let error = create(&new(name), &folder.path().join("x")).unwrap_err().to_string();
            assert!(error.contains("cannot name a plugin"), "{name}: {error}");
        }
        std::fs::write(folder.path().join("mine"), "").unwrap();
        let error = create(&new("geo"), folder.path()).unwrap_err().to_string();
        assert!(error.contains("exists already"), "{error}");
    }
}

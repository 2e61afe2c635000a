//! `weir-plugin.toml`: what a project makes, and how.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;

use crate::plugin::{ComponentSource, Role};
use crate::{Error, Result};

/// The name of the file that makes a folder a project.
pub const PROJECT_FILE: &str = "weir-plugin.toml";

/// A language that there are templates for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Rust, with the crate `weir-plugin`.
    Rust,
    /// Python, with componentize-py.
    Python,
    /// JavaScript, with componentize-js or componentize-qjs.
    Javascript,
    /// C, with wasi-libc.
    C,
}

impl Language {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Javascript => "javascript",
            Self::C => "c",
        }
    }

    /// What the names of source files end with.
    fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Rust => &["rs"],
            Self::Python => &["py"],
            Self::Javascript => &["js", "mjs", "ts"],
            Self::C => &["c", "h"],
        }
    }
}

/// The role that a project is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RoleName {
    /// Turns messages into rows.
    Parser,
    /// Turns rows into rows.
    Transform,
    /// Folds rows into groups.
    Aggregator,
    /// Raises alerts.
    Rule,
}

impl RoleName {
    /// As it is written.
    pub fn name(self) -> &'static str {
        self.role().name()
    }

    /// The role.
    pub fn role(self) -> Role {
        match self {
            Self::Parser => Role::Parser,
            Self::Transform => Role::Transform,
            Self::Aggregator => Role::Aggregator,
            Self::Rule => Role::Rule,
        }
    }
}

/// The file, word for word.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    language: Language,
    role: RoleName,
    component: String,
    build: Build,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    commands: Vec<Vec<String>>,
    output: String,
    #[serde(default)]
    wit: Option<String>,
    #[serde(default)]
    sdk: Option<String>,
    #[serde(default)]
    tools: Vec<Tool>,
}

/// A program that a build needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tool {
    /// What it is called on the command line.
    pub(super) name: String,
    /// The command that installs it.
    pub(super) install: String,
}

/// A folder with a plugin in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The folder.
    pub folder: PathBuf,
    /// The name of the plugin.
    pub name: String,
    /// What it is written in.
    pub language: Language,
    /// What it is written for.
    pub role: RoleName,
    /// Where its component is, or will be.
    pub component: PathBuf,
    /// What makes it, each a program with its arguments, `{wit}` and `{sdk}` filled in.
    pub(super) commands: Vec<Vec<String>>,
    /// What the commands leave, below the folder.
    pub(super) output: String,
    pub(super) tools: Vec<Tool>,
}

impl Project {
    /// The project in a folder.
    ///
    /// # Errors
    /// Config if there is none, or its file is wrong.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(PROJECT_FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let hint = "`weir plugin new` makes a folder with one";
            Error::config(format!("{} is no plugin project, {PROJECT_FILE} cannot be read: {hint}", folder.display()))
                .because(error)
        })?;
        Self::parse(&text, folder)
            .map_err(|why| Error::config(format!("{} is wrong: {}", path.display(), why.trim_end())))
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let File { name, language, role, component, build } =
            toml::from_str(text).map_err(|error| error.to_string())?;
        let fill = |argument: &String| {
            let wit = build.wit.as_deref().unwrap_or("wit");
            argument.replace("{wit}", wit).replace("{sdk}", build.sdk.as_deref().unwrap_or("sdk"))
        };
        let commands: Vec<Vec<String>> =
            build.commands.iter().map(|command| command.iter().map(fill).collect()).collect();
        if commands.iter().any(Vec::is_empty) {
            return Err("build.commands: a command is empty: write the program and its arguments, such as \
                        [\"npm\", \"install\"]"
                .to_owned());
        }
        for (key, path) in [("component", &component), ("build.output", &build.output)] {
            if path.is_empty() {
                return Err(format!("{key}: the path is empty: write one below the folder, such as \"{name}.wasm\""));
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            component: folder.join(component),
            commands,
            output: build.output,
            tools: build.tools,
            name,
            language,
            role,
        })
    }

    /// Its component, which must be there.
    ///
    /// # Errors
    /// Config if it was not built.
    pub fn built(&self) -> Result<ComponentSource> {
        if self.component.is_file() {
            return Ok(ComponentSource::File(self.component.clone()));
        }
        let (component, folder) = (self.component.display(), self.folder.display());
        Err(Error::config(format!("there is no {component} yet: run `weir plugin build {folder}`")))
    }

    /// A source file that has changed since the component was built, if one has.
    pub fn changed_source(&self) -> Option<PathBuf> {
        let built = self.component.metadata().ok()?.modified().ok()?;
        changed_since(&self.folder, built, self.language.extensions())
    }
}

/// Folders beside the sources that tool chains and cases have files in.
const NO_SOURCES: [&str; 5] = ["build", "data", "node_modules", "target", "tests"];

fn changed_since(folder: &Path, built: SystemTime, extensions: &[&str]) -> Option<PathBuf> {
    let has_sources = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !(name.starts_with('.') || NO_SOURCES.contains(&&*name))
    };
    let is_changed_source = |entry: &walkdir::DirEntry| {
        let is_source = entry.path().extension().is_some_and(|end| extensions.iter().any(|one| end == *one));
        let changed = || entry.metadata().ok().and_then(|file| file.modified().ok());
        is_source && entry.file_type().is_file() && changed().is_some_and(|changed| changed > built)
    };
    let entries = walkdir::WalkDir::new(folder).into_iter().filter_entry(has_sources).flatten();
    entries.into_iter().find(is_changed_source).map(walkdir::DirEntry::into_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
name = "geofence"
language = "javascript"
role = "rule"
component = "geofence.wasm"

[build]
commands = [["npm", "install"], ["node", "build.mjs", "{wit}", "--sdk={sdk}"]]
output = "build/geofence.wasm"
wit = "../wit"

[[build.tools]]
name = "npm"
install = "apt-get install npm"
"#;

    #[test]
    fn placeholders_stand_for_the_folders_of_contract_and_sdk() {
        let project = Project::parse(TEXT, Path::new("x")).unwrap();
        assert_eq!(project.commands[1], ["node", "build.mjs", "../wit", "--sdk=sdk"]);
        assert_eq!((project.role, project.language), (RoleName::Rule, Language::Javascript));
        assert_eq!(project.component, Path::new("x/geofence.wasm"));
        assert_eq!(project.tools[0].name, "npm");
    }

    /// With this in place of that, the file is wrong, and why.
    #[track_caller]
    fn check(that: &str, this: &str, why: &str) {
        let error = Project::parse(&TEXT.replacen(that, this, 1), Path::new("x")).unwrap_err();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        check("language", "langauge", "unknown field `langauge`, expected one of `name`, `language`");
        check("\"javascript\"", "\"cobol\"", "expected one of `rust`, `python`, `javascript`, `c`");
        check("\"rule\"", "\"sink\"", "expected one of `parser`, `transform`, `aggregator`, `rule`");
        check("[\"npm\", \"install\"]", "[]", "a command is empty");
        check("output =", "out =", "unknown field `out`");
        check("\"build/geofence.wasm\"", "\"\"", "build.output: the path is empty");
        check("install =", "instal =", "unknown field `instal`");
    }
}

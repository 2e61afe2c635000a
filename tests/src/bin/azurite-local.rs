//! Azurite on this machine with a container of files, for examples.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use object_store::ObjectStoreExt as _;
use object_store::path::Path as ObjectPath;
use weir_tests::azurite::Azurite;

const EXAMPLES: &str = "\
Examples:
  azurite-local --container readings
  azurite-local --container readings --put examples/02-auto-loader/input --ready-file ready

It is there until its standard input ends, and forgets everything then.";

/// Azurite, the emulator of Azure Blob Storage, installed from tests/azurite
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    /// The port; 0 takes a free one
    #[arg(long, default_value_t = 10_000)]
    port: u16,
    /// The container to make
    #[arg(long, value_name = "NAME")]
    container: String,
    /// Put the files of a folder into a folder of its name in the container
    #[arg(long, value_name = "FOLDER")]
    put: Option<PathBuf>,
    /// Write the address to a file when everything is there
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _closed = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let azurite = Azurite::start(arguments.port);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(azurite.make_container(&arguments.container));
    if let Some(folder) = &arguments.put {
        runtime.block_on(put(&azurite, &arguments.container, folder))?;
    }
    let [_, (variable, origin)] = azurite.environment();
    let _closed = writeln!(io::stdout(), "AZURE_STORAGE_USE_EMULATOR=true\n{variable}={origin}");
    if let Some(path) = &arguments.ready_file {
        // Whoever waits for the file must not find it half written.
        let partial = path.with_extension("partial");
        fs::write(&partial, origin).and_then(|()| fs::rename(&partial, path))?;
    }
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

async fn put(azurite: &Azurite, container: &str, folder: &Path) -> io::Result<()> {
    let store = azurite.store(container);
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.sort();
    for file in files.iter().filter(|file| file.is_file()) {
        let below = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path: ObjectPath = [name.as_str(), below.as_str()].into_iter().collect();
        store.put(&path, fs::read(file)?.into()).await.map_err(io::Error::other)?;
    }
    Ok(())
}

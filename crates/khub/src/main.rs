//! `khub`: an AI research consortium in one binary.
//!
//! This file is the command line. Each command lives in a file of its own; what they do is in the libraries.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the one crate that has a terminal"
)]

mod artifact;
mod audit;
mod awards;
mod backup;
mod bench;
mod board;
mod budget;
mod calls;
mod collect;
mod connect;
mod corpus;
mod data;
mod failure;
mod fold;
mod folder;
mod form;
mod found;
mod generate;
mod invoices;
mod job;
mod ledger;
mod login;
mod logs;
mod members;
mod model;
mod money;
mod next;
mod offers;
mod people;
mod plan;
mod policy;
mod program;
mod proposals;
mod publish;
mod quickstart;
mod report;
mod reviews;
mod runs;
mod script;
mod serve;
mod show;
mod simulate;
mod site;
mod token;
mod top;
mod train;
mod uploads;
mod watch;

use clap::{CommandFactory, Parser, Subcommand};
use failure::Failure;
use std::process::ExitCode;

/// Runs an AI research consortium: many organisations' clusters as one research computer.
#[derive(Parser)]
#[command(
    name = "khub",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Quickstart(quickstart::Args),
    Found(found::Args),
    Serve(serve::Args),
    Site(site::Args),
    Submit(job::Submit),
    Jobs(job::List),
    Queue(job::Queue),
    Explain(job::Explain),
    Cancel(job::Cancel),
    Logs(logs::Args),
    Top(top::Args),
    Sites(job::Sites),
    Offers(offers::Args),
    Gpus(offers::Gpus),
    Simulate(simulate::Args),
    Plan(plan::Args),
    Artifacts(artifact::List),
    Put(artifact::Put),
    Fetch(artifact::Fetch),
    Uploads(uploads::Args),
    Board(board::Args),
    Publish(publish::Args),
    Runs(runs::Args),
    Release(artifact::Release),
    Members(members::Args),
    Next(next::Args),
    People(people::Args),
    Calls(calls::Args),
    Proposals(proposals::Args),
    Reviews(reviews::Args),
    Awards(awards::Args),
    Invoices(invoices::Args),
    Money(money::Args),
    Login(login::Args),
    Logout(login::Logout),
    Token(token::Args),
    Policy(policy::Args),
    Watch(watch::Args),
    Ledger(ledger::Args),
    Report(report::Args),
    Audit(audit::Args),
    Collect(collect::Args),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Data(data::Args),
    Train(train::Args),
    Eval(model::Eval),
    Generate(generate::Args),
    Fold(fold::Args),
    Import(model::Import),
    Export(model::Export),
    Completion(Completion),
    #[command(hide = true)]
    Bench(bench::Args),
    #[command(hide = true)]
    Program(program::Args),
}

/// Print the completion script of a shell.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub completion bash > ~/.local/share/bash-completion/completions/khub\n  \
                        khub completion zsh > ~/.zfunc/_khub"
)]
struct Completion {
    /// Which shell.
    shell: clap_complete::Shell,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprint!("{failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Quickstart(args) => quickstart::run(&args),
        Command::Found(args) => found::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Site(args) => site::run(args),
        Command::Submit(args) => job::submit(&args),
        Command::Jobs(args) => job::list(&args),
        Command::Queue(args) => job::queue(&args),
        Command::Explain(args) => job::explain(&args),
        Command::Cancel(args) => job::cancel(&args),
        Command::Logs(args) => logs::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Sites(args) => job::sites(&args),
        Command::Offers(args) => offers::run(&args),
        Command::Gpus(args) => offers::gpus(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Artifacts(args) => artifact::list(&args),
        Command::Put(args) => artifact::put(&args),
        Command::Fetch(args) => artifact::fetch(&args),
        Command::Uploads(args) => uploads::run(&args),
        Command::Board(args) => board::run(&args),
        Command::Release(args) => artifact::release(&args),
        Command::Publish(args) => publish::run(&args),
        Command::Runs(args) => runs::run(&args),
        Command::Members(args) => members::run(&args),
        Command::Next(args) => next::run(&args),
        Command::People(args) => people::run(&args),
        Command::Calls(args) => calls::run(&args),
        Command::Proposals(args) => proposals::run(&args),
        Command::Reviews(args) => reviews::run(&args),
        Command::Awards(args) => awards::run(&args),
        Command::Invoices(args) => invoices::run(&args),
        Command::Money(args) => money::run(&args),
        Command::Login(args) => login::login(&args),
        Command::Logout(args) => login::logout(&args),
        Command::Token(args) => token::run(&args),
        Command::Policy(args) => policy::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Ledger(args) => ledger::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Collect(args) => collect::run(&args),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Data(args) => data::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Eval(args) => model::eval(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Fold(args) => fold::run(&args),
        Command::Import(args) => model::take_in(&args),
        Command::Export(args) => model::hand_out(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Program(args) => program::run(&args),
        Command::Completion(Completion { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "khub", &mut script);
            show::print(&String::from_utf8_lossy(&script));
            Ok(())
        }
    }
}

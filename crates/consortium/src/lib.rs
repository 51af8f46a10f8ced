//! The rules of the consortium: members, money, policy, jobs, rounds; pure.

-- What an app lets its agents do for a customer (docs/actions.md). `parameters`: a JSON Schema. One that is deleted stays, with
-- its secrets, because what was pressed before is still asked for.
create table action_definition (
    definition_id   uuid primary key,
    app_id          uuid not null references app on delete cascade,
    name            text not null,
    title           text not null,
    url             text not null,
    kinds           text[] not null default '{}',
    parameters      json not null,
    limit_value     text,
    limit_currency  text,
    over_limit      text not null default 'refuse' check (over_limit in ('refuse', 'approve')),
    approval        text not null default 'none' check (approval in ('none', 'second_agent')),
    allow_parallel  boolean not null default false,
    enabled         boolean not null default true,
    made_as         bytea not null,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    deleted_at      timestamptz
);
create unique index action_definition_name on action_definition (app_id, name) where deleted_at is null;

-- What calls of an action are signed with, encrypted, as of a webhook.
create table action_secret (
    secret_id       uuid primary key,
    definition_id   uuid not null references action_definition on delete cascade,
    sealed          bytea not null,
    created_at      timestamptz not null,
    valid_until     timestamptz
);
create index action_secret_definition on action_secret (definition_id);

-- One press of one (domain/action.py). `transaction`: the version it was pressed for, sent with every repeat of the call.
-- `due_at`: when it is asked for next, or when the lease of its `claim` ends; null: not by itself. `listed_as` is a UUIDv7:
-- lists are in its order.
create table action (
    app_id          uuid not null,
    user_id         uuid not null,
    action_id       uuid not null,
    conversation_id uuid not null,
    listed_as       uuid not null,
    definition_id   uuid not null,
    name            text not null,
    title           text not null,
    transaction_id  text,
    transaction     json,
    parameters      json not null,
    state           text not null
        check (state in ('awaiting_approval', 'pending', 'unknown', 'done', 'failed', 'rejected')),
    approver        text check (approver in ('agent', 'supervisor')),
    requested_by    uuid not null,
    requested_at    timestamptz not null,
    decided_by      uuid,
    decided_at      timestamptz,
    made_as         bytea not null,
    attempts        integer not null default 0,
    since           timestamptz not null,
    due_at          timestamptz,
    claim           uuid,
    status          integer,
    error           text,
    message         text,
    updated_at      timestamptz not null,
    primary key (app_id, user_id, action_id)
);
create index action_due on action (due_at) where due_at is not null;
create index action_open on action (app_id, user_id, definition_id)
    where state in ('awaiting_approval', 'pending', 'unknown');
create index action_thread on action (app_id, user_id, conversation_id, listed_as);
create index action_listed on action (app_id, state, listed_as);
create index action_id on action (action_id);

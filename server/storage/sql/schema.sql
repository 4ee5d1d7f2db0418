-- Deskbell's whole schema, as it stands after every migration (a test compares the two).
--
-- The shard rule (docs/storage.md): each table says on the line before it what it is.
--   shard: user       belongs to one end user; carries (app_id, user_id), and so does every unique key of it.
--                     On a distributed PostgreSQL the distribution column is user_id.
--   shard: directory  finds (app_id, user_id) for an id that arrives alone; one row an id, looked up by its key.
--   shard: reference  small, the same on every node: apps, agents and their credentials.
--   shard: local      about this database, never distributed.

-- `webhooks` grows whenever what endpoints want has changed, so that a batch knows whether what its node has read of them
-- is still so.
-- shard: local
create table installation (
    only_row    boolean primary key default true check (only_row),
    epoch       text not null default replace(gen_random_uuid()::text, '-', ''),
    created_at  timestamptz not null default now(),
    webhooks    bigint not null default 0
);
insert into installation default values;

-- shard: reference
create table app (
    app_id      uuid primary key,
    name        text not null,
    settings    jsonb not null default '{}',
    created_at  timestamptz not null
);

-- Keys that sign user tokens. `material` is the encrypted HS256 secret, or a public key in PEM.
-- shard: reference
create table app_key (
    app_id      uuid not null references app on delete cascade,
    kid         text not null,
    alg         text not null check (alg in ('HS256', 'RS256', 'ES256', 'EdDSA')),
    material    bytea not null,
    created_at  timestamptz not null,
    primary key (app_id, kid)
);

-- shard: reference
create table server_key (
    key_hash    bytea primary key,
    app_id      uuid not null references app on delete cascade,
    name        text not null,
    created_at  timestamptz not null,
    revoked_at  timestamptz
);

-- shard: reference
create table agent (
    agent_id        uuid primary key,
    email           text not null unique check (email = lower(email)),
    name            text not null,
    avatar_url      text,
    password_hash   text,
    created_at      timestamptz not null,
    disabled_at     timestamptz
);

-- shard: reference
create table membership (
    app_id      uuid not null references app on delete cascade,
    agent_id    uuid not null references agent on delete cascade,
    role        text not null check (role in ('agent', 'supervisor', 'admin')),
    created_at  timestamptz not null,
    primary key (app_id, agent_id)
);
create index membership_agent on membership (agent_id);

-- Long-lived API tokens and console sessions; only their hashes are kept.
-- shard: reference
create table agent_token (
    token_hash  bytea primary key,
    agent_id    uuid not null references agent on delete cascade,
    kind        text not null check (kind in ('token', 'session')),
    created_at  timestamptz not null,
    expires_at  timestamptz
);
create index agent_token_agent on agent_token (agent_id);
create index agent_token_expiry on agent_token (expires_at) where expires_at is not null;

-- `usn` is the head of this user's log and the lock under which every event of the user is numbered.
-- Tokens issued before `tokens_from` are void, and so is every log-in of a lower `auth_gen`. Up to `trimmed_usn` some
-- bodies may have been trimmed (retention), so a cursor below it starts from a snapshot.
-- `incarnation` is new when a user is erased and comes back, so that old cursors are not believed.
-- shard: user
create table end_user (
    app_id          uuid not null,
    user_id         uuid not null,
    external_id     text not null,
    name            text,
    email           text,
    phone           text,
    locale          text,
    properties      jsonb not null default '{}',
    usn             bigint not null default 0,
    auth_gen        bigint not null default 0,
    tokens_from     timestamptz,
    trimmed_usn     bigint not null default 0,
    incarnation     text not null default substr(replace(gen_random_uuid()::text, '-', ''), 1, 8),
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    primary key (app_id, user_id)
);

-- Who owns a device now. Changing hands raises `epoch`, so that a push prepared for the last owner is void. `attempt`: the
-- newest hello of the device, whoever its user was; one that is not newer comes late (protocol.md). 0: none was numbered.
-- shard: directory
create table device_directory (
    app_id      uuid not null,
    device_id   uuid not null,
    user_id     uuid not null,
    epoch       bigint not null default 1,
    attempt     bigint not null default 0,
    primary key (app_id, device_id)
);

-- `generation` counts the device's hellos, so that of two sockets of one device the older is known.
-- shard: user
create table device (
    app_id              uuid not null,
    user_id             uuid not null,
    device_id           uuid not null,
    epoch               bigint not null,
    generation          bigint not null default 1,
    platform            text not null,
    sdk                 text,
    app_version         text,
    locale              text,
    acked_usn           bigint not null default 0,
    foreground_until    timestamptz,
    push_provider       text,
    push_token          text,
    push_token_at       timestamptz,
    created_at          timestamptz not null,
    last_seen_at        timestamptz not null,
    primary key (app_id, user_id, device_id)
);
create index device_push_token on device (app_id, push_provider, push_token) where push_token is not null;

-- Where a conversation lives. Written once at `open`, never changed.
-- shard: directory
create table conversation_directory (
    conversation_id uuid primary key,
    app_id          uuid not null,
    user_id         uuid not null
);

-- The summary of a conversation. `other_message_seq` is the newest message by anyone but the author of the
-- newest message: with it "has someone else written since?" is answered without reading the log. `waiting_since`: the
-- customer spoke last, since then; `last_wait_s`: how long the newest answer, at `answered_at`, let them wait.
-- shard: user
create table conversation (
    app_id              uuid not null,
    user_id             uuid not null,
    conversation_id     uuid not null,
    topic               text,
    status              text not null check (status in ('open', 'pending', 'snoozed', 'resolved')),
    seq                 bigint not null,
    rev                 bigint not null,
    transaction_id      text,
    transaction_ids     text[] not null default '{}',
    headline            text,
    assignee            uuid,
    tags                text[] not null default '{}',
    snoozed_until       timestamptz,
    user_read_seq       bigint not null default 0,
    agent_read_seq      bigint not null default 0,
    user_unread         integer not null default 0,
    agent_unread        integer not null default 0,
    last_message        json,
    last_message_seq    bigint not null default 0,
    last_message_author text,
    other_message_seq   bigint not null default 0,
    waiting_since       timestamptz,
    last_wait_s         integer,
    answered_at         timestamptz,
    trimmed             boolean not null default false,
    opened_at           timestamptz not null,
    updated_at          timestamptz not null,
    primary key (app_id, user_id, conversation_id)
);
create index conversation_by_opened on conversation (app_id, opened_at desc);
create index conversation_by_updated on conversation (app_id, updated_at desc);
create index conversation_by_status on conversation (app_id, status, updated_at desc);
create index conversation_waiting on conversation (app_id, waiting_since) where waiting_since is not null;
create index conversation_retention on conversation (updated_at) where status = 'resolved' and not trimmed;
create index conversation_answered on conversation (app_id, answered_at desc) where answered_at is not null;
create index conversation_by_assignee on conversation (app_id, assignee, updated_at desc) where assignee is not null;

-- The log. `usn` is null for what the user may not see (private notes). `digest` is of the body as the
-- sender gave it: the same client id with another digest is a conflict, for ever.
-- shard: user
create table event (
    app_id          uuid not null,
    user_id         uuid not null,
    conversation_id uuid not null,
    seq             bigint not null,
    usn             bigint,
    kind            text not null,
    author_type     text not null,
    author_id       text not null,
    author_name     text,
    author_avatar   text,
    client_id       uuid,
    digest          bytea,
    body            json not null,
    at              timestamptz not null,
    primary key (app_id, user_id, conversation_id, seq)
);
create unique index event_usn on event (app_id, user_id, usn) where usn is not null;
create unique index event_client_id on event (app_id, user_id, author_type, author_id, client_id)
    where client_id is not null;

-- What the app sold: a ride, an order, a payment. `version` is the app's own; an older one is ignored.
-- shard: user
create table user_transaction (
    app_id          uuid not null,
    user_id         uuid not null,
    transaction_id  text not null,
    version         bigint not null,
    kind            text,
    status          text,
    title           text,
    amount_value    text,
    amount_currency text,
    occurred_at     timestamptz,
    url             text,
    image_url       text,
    attributes      jsonb not null default '{}',
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    primary key (app_id, user_id, transaction_id)
);
create index user_transaction_recent on user_transaction
    (app_id, user_id, (coalesce(occurred_at, created_at)) desc, transaction_id desc);

-- What the company knew at the moment the conversation was opened. Never updated.
-- shard: user
create table context_snapshot (
    app_id          uuid not null,
    user_id         uuid not null,
    conversation_id uuid not null,
    body            json not null,
    frozen_at       timestamptz not null,
    primary key (app_id, user_id, conversation_id)
);

-- shard: user
create table rating (
    app_id          uuid not null,
    user_id         uuid not null,
    conversation_id uuid not null,
    score           smallint not null check (score between 1 and 5),
    comment         text,
    at              timestamptz not null,
    primary key (app_id, user_id, conversation_id)
);

-- Level-triggered push outbox (docs/push.md): pending means want_seq > sent_seq. No row per message.
-- shard: user
create table push_state (
    app_id          uuid not null,
    user_id         uuid not null,
    device_id       uuid not null,
    conversation_id uuid not null,
    epoch           bigint not null,
    want_seq        bigint not null,
    sent_seq        bigint not null default 0,
    wanted_at       timestamptz not null,
    due_at          timestamptz not null,
    claim           uuid,
    claimed_until   timestamptz,
    attempts        integer not null default 0,
    ambiguous       boolean not null default false,
    dead            boolean not null default false,
    outcome         text,
    outcome_at      timestamptz,
    primary key (app_id, user_id, device_id, conversation_id)
);
create index push_state_due on push_state (due_at) where want_seq > sent_seq and not dead;

-- Where an app wants to hear of events. `enabled` is the app's wish, `paused_at` ours after a day of
-- nothing but failures. `failures`: one after the other, since `failing_since`; `held_until`: not called before, to spare
-- an endpoint that is down. `retry_from`: deliveries that are older count their days from then. `made_as`: what was asked
-- for when it was made, so that a repeat of the request is known. A deleted one stays until its deliveries are gone.
-- shard: reference
create table webhook_endpoint (
    endpoint_id     uuid primary key,
    app_id          uuid not null references app on delete cascade,
    url             text not null,
    events          text[] not null,
    description     text,
    enabled         boolean not null default true,
    reason          text,
    paused_at       timestamptz,
    failures        integer not null default 0,
    failing_since   timestamptz,
    held_until      timestamptz,
    retry_from      timestamptz not null,
    made_as         bytea not null,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    deleted_at      timestamptz
);
create index webhook_endpoint_app on webhook_endpoint (app_id);

-- What calls of an endpoint are signed with, encrypted. A replaced one signs beside the new one until `valid_until`.
-- shard: reference
create table webhook_secret (
    secret_id       uuid primary key,
    endpoint_id     uuid not null references webhook_endpoint on delete cascade,
    sealed          bytea not null,
    created_at      timestamptz not null,
    valid_until     timestamptz
);
create index webhook_secret_endpoint on webhook_secret (endpoint_id);

-- What an endpoint is to hear of one conversation, in order (docs/webhooks.md): deliveries have the places up to `head`,
-- and those up to `done` are settled. `due_at`: when the next one is tried, or when the lease of its `claim` ends.
-- shard: user
create table webhook_lane (
    app_id          uuid not null,
    user_id         uuid not null,
    conversation_id uuid not null,
    endpoint_id     uuid not null,
    head            bigint not null,
    done            bigint not null default 0,
    due_at          timestamptz not null,
    claim           uuid,
    primary key (app_id, user_id, conversation_id, endpoint_id)
);
create index webhook_lane_due on webhook_lane (endpoint_id, due_at) where head > done;

-- One event for one endpoint. It says what event `seq` of the log says, or `payload` where it is not in the log.
-- `queued_at`: when it was first wanted, or wanted again. `event_id` is a UUIDv7, so it also tells the age.
-- shard: user
create table webhook_delivery (
    app_id          uuid not null,
    user_id         uuid not null,
    conversation_id uuid not null,
    endpoint_id     uuid not null,
    place           bigint not null,
    event_id        uuid not null,
    type            text not null,
    seq             bigint,
    payload         json,
    state           text not null default 'pending' check (state in ('pending', 'delivered', 'dead')),
    attempts        integer not null default 0,
    queued_at       timestamptz not null,
    tried_at        timestamptz,
    status          integer,
    error           text,
    created_at      timestamptz not null,
    primary key (app_id, user_id, conversation_id, endpoint_id, place)
);
create index webhook_delivery_listed on webhook_delivery (endpoint_id, state, event_id);

-- What an app lets its agents do for a customer (docs/actions.md). `parameters`: a JSON Schema. One that is deleted stays, with
-- its secrets, because what was pressed before is still asked for.
-- shard: reference
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
-- shard: reference
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
-- shard: user
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

-- What a batch writes travels as arrays of these, one value a row, instead of one array a column: fewer values to look
-- at on both sides. A statement that needs another shape gets another type, so that nodes of two versions can write side
-- by side during an upgrade.
create type written_event as (
    app_id          uuid,
    user_id         uuid,
    conversation_id uuid,
    seq             bigint,
    usn             bigint,
    kind            text,
    author_type     text,
    author_id       text,
    author_name     text,
    author_avatar   text,
    client_id       uuid,
    digest          bytea,
    body            json,
    at              timestamptz
);

create type written_summary as (
    app_id              uuid,
    user_id             uuid,
    conversation_id     uuid,
    seq                 bigint,
    rev                 bigint,
    status              text,
    headline            text,
    assignee            uuid,
    snoozed_until       timestamptz,
    user_read_seq       bigint,
    agent_read_seq      bigint,
    user_unread         integer,
    agent_unread        integer,
    last_message        json,
    last_message_seq    bigint,
    last_message_author text,
    other_message_seq   bigint,
    updated_at          timestamptz,
    waiting_since       timestamptz,
    last_wait_s         integer,
    answered_at         timestamptz
);

-- `known`: the version of the conversation's row that the asking node has already (`xmin`).
create type wanted_row as (
    app_id          uuid,
    user_id         uuid,
    conversation_id uuid,
    author_type     text,
    author_id       text,
    client_id       uuid,
    known           text
);

-- What is written of a conversation whose head is known (storage/known.py): an event, and with the last event of a
-- conversation its summary; `rev` is null for the others. `n`: which one of the batch's users.
create type known_row as (
    n                   integer,
    conversation_id     uuid,
    seq                 bigint,
    usn                 bigint,
    kind                text,
    author_type         text,
    author_id           text,
    author_name         text,
    author_avatar       text,
    client_id           uuid,
    digest              bytea,
    body                json,
    rev                 bigint,
    status              text,
    user_read_seq       bigint,
    agent_read_seq      bigint,
    user_unread         integer,
    agent_unread        integer,
    last_message        json,
    last_message_seq    bigint,
    last_message_author text,
    other_message_seq   bigint,
    waiting_since       timestamptz,
    last_wait_s         integer,
    answered_at         timestamptz
);

-- The one write path of the log. All of these run inside one transaction of `storage/writer.py`, in this order.

-- name: lock_users
-- scope: user
-- Lock the users of a batch, in ascending order, so that two batches cannot deadlock. Their rows are the locks
-- under which events are numbered; what is read after this statement is the newest there is. `history`: find_history.
-- `before`: the version (`xmin`) of the user's row. `version`: the one it will have when this transaction has written it.
-- `webhooks`: the number of the last change of what endpoints want (storage/webhook_outbox.py).
select want.n, u.usn, u.xmin::text as before, pg_current_xact_id()::xid::text as version,
    (select webhooks from installation) as webhooks,
    (select epoch || '-' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) from installation) as history
from end_user u
join unnest($1::uuid[], $2::uuid[]) with ordinality as want (app_id, user_id, n)
    on u.app_id = want.app_id and u.user_id = want.user_id
order by u.user_id, u.app_id
for update of u;

-- name: find_written
-- scope: user
-- Whether an event stands where a batch had put it, of which nobody knows whether it was committed. Asked under the lock of
-- the user. (The number of the transaction would not do: after a crash that lost it, it is given to another one.)
select e.seq from event e
where e.app_id = $1 and e.user_id = $2 and e.conversation_id = $3 and e.seq = $4
    and e.at = $5 and e.kind = $6 and e.author_id = $7 and e.client_id is not distinct from $8::uuid;

-- name: load_heads
-- scope: user
-- For each wanted conversation its summary, and the event that was stored under the author's client id, if any.
-- `n`: which one of the wanted it is about, from 1 on.
select want.n, case when c.conversation_id is not null then c end as conversation,
    e.conversation_id as stored_conversation_id, e.seq as stored_seq, e.usn as stored_usn, e.at as stored_at,
    e.digest as stored_digest
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::uuid[]) with ordinality
    as want (app_id, user_id, conversation_id, author_type, author_id, client_id, n)
left join conversation c
    on c.app_id = want.app_id and c.user_id = want.user_id and c.conversation_id = want.conversation_id
left join event e
    on e.app_id = want.app_id and e.user_id = want.user_id and e.client_id = want.client_id
    and e.author_type = want.author_type and e.author_id = want.author_id;

-- name: load_openings
-- scope: user
-- Of conversations that are to be opened: whose id is it already, and the numbers of the first event.
select d.conversation_id, d.app_id, d.user_id, e.usn, e.at
from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as want (app_id, user_id, conversation_id)
join conversation_directory d on d.conversation_id = want.conversation_id
left join event e
    on e.app_id = want.app_id and e.user_id = want.user_id and e.conversation_id = want.conversation_id
    and e.seq = 1 and d.app_id = want.app_id and d.user_id = want.user_id;

-- name: load_recent_transactions
-- scope: user
-- The newest transactions of each user who opens a conversation.
select t.*, coalesce(t.occurred_at, t.created_at) as recency
from (select distinct * from unnest($1::uuid[], $2::uuid[]) as given (app_id, user_id)) want
cross join lateral (
    select * from user_transaction t
    where t.app_id = want.app_id and t.user_id = want.user_id
    order by coalesce(t.occurred_at, t.created_at) desc, t.transaction_id desc
    limit $3
) t;

-- name: load_transactions
-- scope: user
-- Transactions by id.
select t.*, coalesce(t.occurred_at, t.created_at) as recency
from user_transaction t
join unnest($1::uuid[], $2::uuid[], $3::text[]) as want (app_id, user_id, transaction_id)
    on t.app_id = want.app_id and t.user_id = want.user_id and t.transaction_id = want.transaction_id;

-- name: load_conversations_about
-- scope: user
-- The conversations that are not resolved and speak of one of these transactions.
select distinct on (c.app_id, c.user_id, c.conversation_id) c.*
from unnest($1::uuid[], $2::uuid[], $3::text[]) as want (app_id, user_id, transaction_id)
join conversation c
    on c.app_id = want.app_id and c.user_id = want.user_id
    and c.status <> 'resolved' and want.transaction_id = any (c.transaction_ids);

-- name: count_newer
-- scope: user
-- How many messages of the other side are newer than a read cursor.
select want.app_id, want.user_id, want.conversation_id, want.reader, want.seq, (
    select count(*) from event e
    where e.app_id = want.app_id and e.user_id = want.user_id and e.conversation_id = want.conversation_id
        and e.seq > want.seq and e.kind = 'message'
        and (e.author_type = 'user') = (want.reader = 'agent')
) as newer
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[])
    as want (app_id, user_id, conversation_id, reader, seq);

-- name: load_ratings
-- scope: user
-- The verdicts so far: the same one again changes nothing.
select r.app_id, r.user_id, r.conversation_id, r.score, r.comment
from rating r
join unnest($1::uuid[], $2::uuid[], $3::uuid[]) as want (app_id, user_id, conversation_id)
    on r.app_id = want.app_id and r.user_id = want.user_id and r.conversation_id = want.conversation_id;

-- name: insert_conversations
-- scope: user
-- Summaries of conversations opened in this batch; `write_log` fills in the rest.
insert into conversation (app_id, user_id, conversation_id, topic, status, seq, rev, transaction_id, opened_at, updated_at)
select app_id, user_id, conversation_id, topic, 'open', 0, 0, transaction_id, opened_at, opened_at
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::timestamptz[])
    as given (app_id, user_id, conversation_id, topic, transaction_id, opened_at);

-- name: insert_directory
-- scope: directory
insert into conversation_directory (conversation_id, app_id, user_id)
select conversation_id, app_id, user_id
from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as given (app_id, user_id, conversation_id);

-- name: insert_snapshots
-- scope: user
insert into context_snapshot (app_id, user_id, conversation_id, body, frozen_at)
select app_id, user_id, conversation_id, body, frozen_at
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::json[], $5::timestamptz[])
    as given (app_id, user_id, conversation_id, body, frozen_at);

-- name: put_transactions
-- scope: user
insert into user_transaction (app_id, user_id, transaction_id, version, kind, status, title, amount_value,
    amount_currency, occurred_at, url, image_url, attributes, created_at, updated_at)
select app_id, user_id, transaction_id, version, kind, status, title, amount_value, amount_currency, occurred_at,
    url, image_url, attributes, $14, $14
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::timestamptz[], $11::text[], $12::text[], $13::jsonb[])
    as given (app_id, user_id, transaction_id, version, kind, status, title, amount_value, amount_currency,
        occurred_at, url, image_url, attributes)
on conflict (app_id, user_id, transaction_id) do update set
    version = excluded.version, kind = excluded.kind, status = excluded.status, title = excluded.title,
    amount_value = excluded.amount_value, amount_currency = excluded.amount_currency,
    occurred_at = excluded.occurred_at, url = excluded.url, image_url = excluded.image_url,
    attributes = excluded.attributes, updated_at = excluded.updated_at;

-- name: put_rating
-- scope: user
insert into rating (app_id, user_id, conversation_id, score, comment, at)
values ($1, $2, $3, $4, $5, $6)
on conflict (app_id, user_id, conversation_id) do update set
    score = excluded.score, comment = excluded.comment, at = excluded.at;

-- name: put_lists
-- scope: user
-- The two list columns of a summary; they change rarely and do not fit into arrays of arrays.
update conversation set tags = $4, transaction_ids = $5
where app_id = $1 and user_id = $2 and conversation_id = $3;

-- name: write_log
-- scope: user
-- The events, the users' heads and the summaries of a batch.
with numbered as (
    update end_user u set usn = given.usn
    from unnest($1::uuid[], $2::uuid[], $3::bigint[]) as given (app_id, user_id, usn)
    where u.app_id = given.app_id and u.user_id = given.user_id
),
appended as (
    insert into event (app_id, user_id, conversation_id, seq, usn, kind, author_type, author_id, author_name,
        author_avatar, client_id, digest, body, at)
    select given.* from unnest($4::written_event[]) as given
)
update conversation c set
    seq = given.seq, rev = given.rev, status = given.status, headline = given.headline,
    assignee = given.assignee, snoozed_until = given.snoozed_until, user_read_seq = given.user_read_seq,
    agent_read_seq = given.agent_read_seq, user_unread = given.user_unread, agent_unread = given.agent_unread,
    last_message = given.last_message, last_message_seq = given.last_message_seq,
    last_message_author = given.last_message_author, other_message_seq = given.other_message_seq,
    updated_at = given.updated_at, waiting_since = given.waiting_since, last_wait_s = given.last_wait_s,
    answered_at = given.answered_at, trimmed = false
from unnest($5::written_summary[]) as given
where c.app_id = given.app_id and c.user_id = given.user_id and c.conversation_id = given.conversation_id;

-- name: want_push
-- scope: user
-- A message for the user: every device of the user with a push token should hear of it (docs/push.md). At once,
-- or after a grace when the device has a foreground socket. Something already pending keeps its earlier due time.
insert into push_state as p (app_id, user_id, device_id, conversation_id, epoch, want_seq, wanted_at, due_at)
select d.app_id, d.user_id, d.device_id, m.conversation_id, d.epoch, m.seq, $5,
    case when d.foreground_until > $5 then $6 else $5 end
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[]) as m (app_id, user_id, conversation_id, seq)
join device d on d.app_id = m.app_id and d.user_id = m.user_id and d.push_token is not null
on conflict (app_id, user_id, device_id, conversation_id) do update set
    want_seq = greatest(p.want_seq, excluded.want_seq),
    epoch = excluded.epoch,
    wanted_at = case when p.want_seq > p.sent_seq and not p.dead then p.wanted_at else excluded.wanted_at end,
    due_at = case when p.want_seq > p.sent_seq and not p.dead then least(p.due_at, excluded.due_at)
        else excluded.due_at end,
    attempts = case when p.want_seq > p.sent_seq and not p.dead then p.attempts else 0 end,
    ambiguous = case when p.want_seq > p.sent_seq and not p.dead then p.ambiguous else false end,
    dead = false;

-- name: append_known
-- scope: user
-- A batch of which everything is known already (storage/known.py), as one statement: lock, compare, write. Of a user whose
-- row has another version nothing is written, nor of one of whose messages one is stored already. That one needs no
-- second look: whoever stored it before the version came about is seen by this statement, and afterwards nobody did.
-- Nor is anything written if what endpoints want is not as `$12` has it (storage/webhook_outbox.py).
-- Returns `n` of those who were written for, and the `version` of their rows now. (A message changes neither headline,
-- assignee nor lists, and ends a snooze or leaves it.)
with held as materialized (
    select u.app_id, u.user_id, want.usn, want.n
    from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[]) with ordinality
        as want (app_id, user_id, known, usn, n)
    join end_user u on u.app_id = want.app_id and u.user_id = want.user_id
    where u.xmin::text = want.known
        and ($5::text, $12::bigint) = (
            select epoch || '-' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), webhooks from installation
        )
    order by u.user_id, u.app_id
    for update of u
),
given as materialized (
    select * from unnest($6::known_row[])
),
repeated as materialized (
    select held.n
    from given
    join held on held.n = given.n
    join event e on e.app_id = held.app_id and e.user_id = held.user_id and e.client_id = given.client_id
        and e.author_type = given.author_type and e.author_id = given.author_id
),
taken as materialized (
    select held.* from held
    where not exists (select from repeated where repeated.n = held.n)
),
news as materialized (
    select taken.app_id, taken.user_id, given.* from given join taken on taken.n = given.n
),
numbered as (
    update end_user u set usn = taken.usn from taken
    where u.app_id = taken.app_id and u.user_id = taken.user_id
),
appended as (
    insert into event (app_id, user_id, conversation_id, seq, usn, kind, author_type, author_id, author_name,
        author_avatar, client_id, digest, body, at)
    select app_id, user_id, conversation_id, seq, usn, kind, author_type, author_id, author_name, author_avatar,
        client_id, digest, body, $10
    from news
),
summed as (
    update conversation c set
        seq = news.seq, rev = news.rev, status = news.status,
        snoozed_until = case when news.status = 'snoozed' then c.snoozed_until end,
        user_read_seq = news.user_read_seq, agent_read_seq = news.agent_read_seq, user_unread = news.user_unread,
        agent_unread = news.agent_unread, last_message = news.last_message, last_message_seq = news.last_message_seq,
        last_message_author = news.last_message_author, other_message_seq = news.other_message_seq, updated_at = $10,
        waiting_since = news.waiting_since, last_wait_s = news.last_wait_s, answered_at = news.answered_at,
        trimmed = false
    from news
    where news.rev is not null
        and c.app_id = news.app_id and c.user_id = news.user_id and c.conversation_id = news.conversation_id
),
wanted as (
    insert into push_state as p (app_id, user_id, device_id, conversation_id, epoch, want_seq, wanted_at, due_at)
    select d.app_id, d.user_id, d.device_id, m.conversation_id, d.epoch, m.seq, $10,
        case when d.foreground_until > $10 then $11 else $10 end
    from unnest($7::integer[], $8::uuid[], $9::bigint[]) as m (n, conversation_id, seq)
    join taken on taken.n = m.n
    join device d on d.app_id = taken.app_id and d.user_id = taken.user_id and d.push_token is not null
    on conflict (app_id, user_id, device_id, conversation_id) do update set
        want_seq = greatest(p.want_seq, excluded.want_seq),
        epoch = excluded.epoch,
        wanted_at = case when p.want_seq > p.sent_seq and not p.dead then p.wanted_at else excluded.wanted_at end,
        due_at = case when p.want_seq > p.sent_seq and not p.dead then least(p.due_at, excluded.due_at)
            else excluded.due_at end,
        attempts = case when p.want_seq > p.sent_seq and not p.dead then p.attempts else 0 end,
        ambiguous = case when p.want_seq > p.sent_seq and not p.dead then p.ambiguous else false end,
        dead = false
)
select n, pg_current_xact_id()::xid::text as version from taken;

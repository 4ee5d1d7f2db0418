-- Transactions, read.

-- name: list_transactions
-- scope: user
-- Newest first, from a point on.
select t.*, coalesce(t.occurred_at, t.created_at) as recency
from user_transaction t
where t.app_id = $1 and t.user_id = $2
    and ($3::timestamptz is null or (coalesce(t.occurred_at, t.created_at), t.transaction_id) < ($3, $4::text))
order by coalesce(t.occurred_at, t.created_at) desc, t.transaction_id desc limit $5;

-- name: find_transactions
-- scope: user
select t.* from user_transaction t
where t.app_id = $1 and t.user_id = $2 and t.transaction_id = any ($3::text[]);

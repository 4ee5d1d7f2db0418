-- Apps, their keys, and who may speak for them.

-- name: insert_app
-- scope: reference
insert into app (app_id, name, created_at) values ($1, $2, $3);

-- name: find_app
-- scope: reference
select app_id, name, settings, created_at from app where app_id = $1;

-- name: list_apps
-- scope: reference
select app_id, name, settings, created_at from app order by created_at, app_id;

-- name: insert_app_key
-- scope: reference
insert into app_key (app_id, kid, alg, material, created_at) values ($1, $2, $3, $4, $5);

-- name: find_app_key
-- scope: reference
-- The key that signed a user's token: an app has several, so that they can be rotated with overlap.
select app_id, kid, alg, material from app_key where app_id = $1 and kid = $2;

-- name: list_app_keys
-- scope: reference
select app_id, kid, alg, material from app_key where app_id = $1 order by created_at, kid;

-- name: delete_app_key
-- scope: reference
delete from app_key where app_id = $1 and kid = $2;

-- name: insert_server_key
-- scope: reference
insert into server_key (key_hash, app_id, name, created_at) values ($1, $2, $3, $4);

-- name: find_server_key
-- scope: reference
select a.app_id, a.name
from server_key k join app a on a.app_id = k.app_id
where k.key_hash = $1 and k.revoked_at is null;

-- name: revoke_server_key
-- scope: reference
update server_key set revoked_at = $2 where key_hash = $1 and revoked_at is null;

-- name: find_sealed_secret
-- scope: reference
-- Any stored secret: with it the key of this installation is tried at the start.
select material from app_key where alg = 'HS256' limit 1;

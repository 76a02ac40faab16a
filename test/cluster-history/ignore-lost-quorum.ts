/** A seeded fault, loaded before the program of a node: the warning with which a commit ends that no standby has is not seen. */

import { PostgresConnection } from '../../storage/postgres/connection.ts';

PostgresConnection.prototype.takeCommitWarning = () => undefined;

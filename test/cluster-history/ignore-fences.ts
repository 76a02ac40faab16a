/**
 * A seeded fault, loaded before the program of a node: it acts although others do not hear it, and others take its sessions over without
 * fencing it off.
 */

import { ClusterNodes } from '../../broker/cluster/cluster-nodes.ts';
import { Deafness } from '../../broker/sessions/deafness.ts';

Deafness.prototype.set = () => {};
ClusterNodes.prototype.fenceOff = async () => ({ formerAdopter: undefined });
ClusterNodes.prototype.isAt = async () => true;

//! Packets of sources that nobody announced, beside one that is heard.

use crate::media::{check_pictures, film, film_pictures, Camera, CAMERA, VIDEO_IN};
use crate::network::{Bad, World};

#[test]
fn single_packets_of_other_sources_cost_nothing() {
    let mut world = World::new(9, Bad::delay(10));
    film(&mut world, true, true, 1);
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 5, |_, _| {});
    let from = world.peers[0].address;
    film_pictures(&mut world, &mut camera, 40, |world, _| {
        // the payload type of `film`, and what may be anything
        let mut bytes = vec![0x80, 102];
        bytes.extend(world.random.next().to_be_bytes());
        bytes.extend(world.random.next().to_be_bytes());
        world.inject(1, world.now, false, from, bytes);
    });
    world.run_for(500);
    assert_eq!(check_pictures(&world, &camera), 45);
    let stats = world.peers[1].leg.receiver_stats(VIDEO_IN, world.now).unwrap();
    assert_eq!(stats.ssrc, Some(0xCAFE));
}
